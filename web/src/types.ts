// The records of the page's API, as the server sends them (docs/chats.md).

export type Places = "web" | "library";
export type Effort = "low" | "medium" | "high";
export type ReplyState = "running" | "done" | "stopped" | "failed" | "cut";

export interface About {
  searches: "inside" | "before";
  thinks: "always" | "optional";
  chats_freely: boolean;
  summary: Partial<Record<"en" | "de", string>>;
  examples: Partial<Record<"en" | "de", string[]>>;
}

export interface Model {
  id: string;
  context: number;
  about: About;
}

export interface State {
  version: string;
  keys: boolean;
  sharing: boolean;
  runs: boolean;
  /** A browser may take a model along. */
  device: boolean;
  search: Places[];
  web_search: string | null;
  models: Model[];
}

export interface Source {
  number: number;
  title: string;
  url: string;
  excerpt: string;
  published: string;
}

/** A search within a reply; `at` is how many characters of the thought came before it. */
export interface Step {
  query: string;
  at: number;
  seconds: number;
  problem: string;
  sources: number[];
}

export interface Attachment {
  id: string;
  name: string;
  characters: number;
}

export interface Usage {
  prompt_tokens: number;
  cached_tokens: number;
  thought_tokens: number;
  answer_tokens: number;
}

export interface Message {
  id: string;
  parent: string | null;
  role: "user" | "assistant";
  content: string;
  thought: string;
  created: number;
  model: string | null;
  state: ReplyState;
  error: { message: string; code: string | null } | null;
  steps: Step[];
  sources: Source[];
  attachments: Attachment[];
  thinking: boolean;
  search: Places[];
  /** So many of the oldest exchanges the model did not read, for want of room; at the end of the reply. */
  left_out?: number;
  usage: Usage | null;
  thought_seconds: number;
  seconds: number;
  cost_usd: number | null;
  o1_usd: number | null;
  stream: string | null;
}

export interface ConversationLine {
  id: string;
  title: string;
  pinned: boolean;
  created: number;
  updated: number;
  running: boolean;
  snippet?: string;
}

export interface Conversation extends ConversationLine {
  head: string | null;
  share: string | null;
  messages: Message[];
}

/** What is asked with one turn; content null answers the user message `parent` again. */
export interface Turn {
  parent: string | null;
  content: string | null;
  attachments: string[];
  model: string | null;
  thinking: boolean;
  effort: Effort | null;
  search: Places[];
}

export type TurnEvent =
  | { type: "begin"; user: Message | null; reply: Message; stream: string }
  | { type: "think"; text: string }
  | { type: "answer"; text: string }
  | { type: "search"; query: string }
  | { type: "found"; query: string; sources: Source[]; problem: string; seconds: number }
  | { type: "end"; reply: Message }
  | { type: "error"; message: string; code: string | null };
