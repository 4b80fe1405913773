import { useEffect, useLayoutEffect, useState } from "../html.js";
import { getJob } from "./job-cache.js";

/** A Job; the component is rendered again after each change of it. */
export function useJob(id) {
  const [, render] = useState(0);
  useEffect(() => getJob(id).subscribe(() => render((count) => count + 1)), [id]);
  return getJob(id);
}

/** Width and height of a job's images: from the model's card, else from an image; 0 until known. */
export function useImageSize(job, card) {
  const [measured, setMeasured] = useState(0);
  useLayoutEffect(() => {
    if (card) return undefined;
    const measure = () => setMeasured(job.image(0, null)?.[3] ?? 0);
    measure();
    return job.onPaint(measure);
  }, [job, card]);
  return card?.image_size ?? measured;
}
