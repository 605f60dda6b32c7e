import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { takeKey } from "./lib/session";

takeKey();
mount(App, { target: document.getElementById("app")! });
