// Entry of every page: each module takes what it finds and leaves the rest alone.

import { Board } from "./js/board.js";
import { startCopying } from "./js/copy.js";
import { startDrafts } from "./js/drafts.js";
import { startFloats } from "./js/floats.js";
import { giveWay } from "./js/first.js";
import { startForms } from "./js/forms.js";
import { startKeys } from "./js/keys.js";
import { showLink } from "./js/link.js";
import { fragments, stream } from "./js/live.js";
import { startNewTicket } from "./js/newticket.js";
import { startOffline } from "./js/offline.js";
import { Needs } from "./js/needs.js";
import { startNotifying } from "./js/notifying.js";
import { Palette } from "./js/palette.js";
import { startPhases } from "./js/phases.js";
import { startPicking } from "./js/picker.js";
import { Reach } from "./js/reach.js";
import { startReplay } from "./js/replay.js";
import { startSettings } from "./js/settings.js";
import { startTimes } from "./js/times.js";

startSettings();
startTimes();
startForms();
startDrafts();
startFloats();
startCopying();
startPhases();
startReplay();
startNewTicket();
startPicking();
const reach = new Reach(stream);
showLink(stream, reach);
startOffline(reach);
startNotifying(new Needs(stream));
startKeys(new Palette());

const board = document.querySelector("[data-board]");
if (board) new Board(board, stream, fragments);
if (document.querySelector("[data-first]")) giveWay(stream);
stream.start();
