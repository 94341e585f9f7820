// The print view of a ticket: absolute times in the viewer's zone, since paper does not show when it was printed.

import { startTimes } from "./js/site/times.js";

document.documentElement.dataset.times = "whole";
startTimes();
document.querySelector("[data-print]").addEventListener("click", () => print());
