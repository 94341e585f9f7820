// A ticket to be printed: times in the viewer's zone, whole, since paper does not tell how long ago it was printed.

import { startTimes } from "./js/site/times.js";

document.documentElement.dataset.times = "whole";
startTimes();
document.querySelector("[data-print]").addEventListener("click", () => print());
