// The slider between before and after; without scripts both pictures stand one below the other.
const figure = document.querySelector(".slider"), control = figure.querySelector("input");
figure.classList.add("live");
control.hidden = false;
const show = () => figure.style.setProperty("--place", control.value + "%");
control.addEventListener("input", show);
show();
