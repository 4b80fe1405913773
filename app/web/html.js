/** Preact with htm: markup in template strings, so that nothing has to be built. */
import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { Component, createContext, render } from "./vendor/preact.js";
export { useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";

export const html = htm.bind(h);
