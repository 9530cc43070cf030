// One dialog at a time; without JavaScript, and in print, all are shown.
const box = document.getElementById("dialogs");
const dialogs = [...box.querySelectorAll(".dialog")];
const place = document.getElementById("place");
let shown = 0;
function show(index) {
  dialogs[shown].classList.remove("shown");
  shown = (index + dialogs.length) % dialogs.length;
  dialogs[shown].classList.add("shown");
  place.textContent = `${shown + 1} of ${dialogs.length}`;
}
if (dialogs.length) {
  box.classList.add("paged");
  document.getElementById("pager").hidden = false;
  document.getElementById("previous").onclick = () => show(shown - 1);
  document.getElementById("next").onclick = () => show(shown + 1);
  addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(shown - 1);
    if (event.key === "ArrowRight") show(shown + 1);
  });
  show(0);
}
