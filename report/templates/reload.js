const folds = [...document.querySelectorAll("details")];
for (const place of JSON.parse(sessionStorage.getItem("open") ?? "[]")) {
  if (folds[place]) folds[place].open = true;
}
// The older the page is, the more rarely: what wrote it may have ended.
const seconds = Math.max(10, (Date.now() / 1000 - writtenAt) / 20);
setTimeout(() => {
  sessionStorage.setItem("open", JSON.stringify(folds.flatMap((fold, place) => (fold.open ? [place] : []))));
  location.reload();
}, 1000 * seconds);
