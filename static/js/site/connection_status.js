// The connection's state in words and as an attribute of the page, so that nothing looks live while no events arrive; and the
// banner while the page cannot be refreshed.

const WORDS = { live: "Live", waiting: "Connecting", lost: "Reconnecting" };

export function showConnectionStatus(stream, connectivity) {
  const pill = document.getElementById("connection");
  const banner = document.querySelector("[data-offline]");
  const show = () => {
    pill.dataset.link = connectivity.away ? "lost" : stream.link;
    document.documentElement.dataset.link = pill.dataset.link;
    pill.querySelector(".label").textContent = connectivity.away ? "Offline" : WORDS[stream.link];
    pill.title = stream.link === "live" ? "Live updates are on" : "Live updates are interrupted. Reload to see changes";
    banner.querySelector("time").dateTime = connectivity.since.toISOString();
    banner.hidden = !connectivity.away;
    document.dispatchEvent(new CustomEvent("mc:fresh", { detail: { root: banner } }));
  };
  stream.addEventListener("link", show);
  connectivity.addEventListener("change", show);
  show();
}
