new MutationObserver(() => map && goTo(step)).observe(document.body, { attributeFilter: ["class"] }); // light or dark
watch("value", () => draw(props.value));
draw(props.value);
