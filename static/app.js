// Entry of every page. Each module does nothing on a page without its elements.

import { Board } from "./js/board/board_view.js";
import { startFilters } from "./js/board/filters.js";
import { startCopyButtons } from "./js/site/copy_button.js";
import { startDrafts } from "./js/site/drafts.js";
import { startDialogs } from "./js/site/dialogs.js";
import { reloadOnFirstTicket } from "./js/board/onboarding.js";
import { startForms } from "./js/site/forms.js";
import { startKeys } from "./js/site/shortcuts.js";
import { showConnectionStatus } from "./js/site/connection_status.js";
import { fragments, stream } from "./js/site/shared_stream.js";
import { startNewTicket } from "./js/ticket/new_ticket.js";
import { startOffline } from "./js/site/offline.js";
import { AttentionList } from "./js/site/attention.js";
import { startNotifications } from "./js/site/notifications.js";
import { Palette } from "./js/site/palette.js";
import { startAgentWall } from "./js/runs/agent_wall.js";
import { startNeighbours } from "./js/ticket/neighbours.js";
import { startPropertyKeys } from "./js/board/property_keys.js";
import { startPhases } from "./js/ticket/phase_picker.js";
import { startTicketLine } from "./js/ticket/ticket_line.js";
import { startTicketPickers } from "./js/ticket/ticket_picker.js";
import { Connectivity } from "./js/site/connectivity.js";
import { startReplay } from "./js/ticket/replay.js";
import { startSettings } from "./js/site/settings.js";
import { startTimes } from "./js/site/times.js";

startSettings();
startTimes();
startForms();
startDrafts();
startDialogs();
startCopyButtons();
startPhases();
startReplay();
startNewTicket();
startTicketLine();
startTicketPickers();
const connectivity = new Connectivity(stream);
showConnectionStatus(stream, connectivity);
startOffline(connectivity);
startNotifications(new AttentionList(stream));
startKeys(new Palette());

const board = document.querySelector("[data-board]");
startNeighbours();
if (document.querySelector(".ticket[data-ticket]")) startPropertyKeys();
if (board) startFilters();
if (board) new Board(board, stream, fragments);
const agentWall = document.querySelector("[data-agent-wall]");
if (agentWall) startAgentWall(agentWall, stream);
if (document.querySelector("[data-first]")) reloadOnFirstTicket(stream);
stream.start();

export { stream };
