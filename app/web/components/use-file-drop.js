import { useEffect, useState } from "../html.js";

/** Whether a file is being dragged over the page; `onDrop(file)` is called when it is dropped. */
export function useFileDrop(onDrop) {
  const [dragging, setDragging] = useState(false);
  useEffect(() => {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const dragover = (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault(); // otherwise the browser opens the file instead of the page
      setDragging(true);
    };
    const dragleave = (event) => event.relatedTarget === null && setDragging(false);
    const drop = (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setDragging(false);
      if (event.dataTransfer.files.length > 0) onDrop(event.dataTransfer.files[0]);
    };
    const listeners = { dragover, dragleave, drop };
    for (const [type, listener] of Object.entries(listeners)) addEventListener(type, listener);
    return () => {
      for (const [type, listener] of Object.entries(listeners)) removeEventListener(type, listener);
    };
  }, [onDrop]);
  return dragging;
}
