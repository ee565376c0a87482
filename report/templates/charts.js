for (const place of document.querySelectorAll(".chart")) {
  const specs = JSON.parse(place.querySelector("script").textContent);
  const options = { actions: false, renderer: "svg" };
  const views = await Promise.all(
    [...place.querySelectorAll(".view")].map(async (view, i) => (await vegaEmbed(view, specs[i], options)).view));
  place.addEventListener("change", () => {
    const shown = [...place.querySelectorAll("input:checked")].map((box) => box.value);
    // Axes of nothing have no extent: the last lines that were on stay, unseen.
    place.classList.toggle("off", !shown.length);
    if (shown.length) for (const view of views) view.signal("shown", shown).runAsync();
  });
}
