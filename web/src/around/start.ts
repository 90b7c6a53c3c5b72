// What has to be done before anything is shown or asked for.

import "./install";
import { listenForKeys } from "./keys";

listenForKeys();
