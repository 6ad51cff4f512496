watch("value", () => draw(props.value));
draw(props.value);
