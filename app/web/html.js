/** Preact with htm: markup in template strings, without a build step. */
import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { Component, render } from "./vendor/preact.js";
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";

export const html = htm.bind(h);
