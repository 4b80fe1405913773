import { useEffect, useState } from "../html.js";

/** Whether a file is held over the page; `take(file)` is given one that is let go. */
export function useDrop(take) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    const hold = (event) => {
      if (!carries(event)) return;
      event.preventDefault(); // else the browser would open the file in place of the page
      setOver(true);
    };
    const leave = (event) => event.relatedTarget === null && setOver(false);
    const drop = (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      setOver(false);
      if (event.dataTransfer.files.length > 0) take(event.dataTransfer.files[0]);
    };
    const heard = { dragover: hold, dragleave: leave, drop };
    for (const [type, listener] of Object.entries(heard)) addEventListener(type, listener);
    return () => {
      for (const [type, listener] of Object.entries(heard)) removeEventListener(type, listener);
    };
  }, [take]);
  return over;
}
