// What all views share: the project, the server's state, the reviewer, and decisions to be sent.
import {
  api,
  body,
  ConnectionError,
  LOGGED_OUT,
  RequestError,
  type Account,
  type Decision,
  type Progress,
  type Project,
  type Role,
  type Status,
} from "./api";
import { forgetKey, LOG_IN } from "./session";
import { describeVerdict } from "./verdicts";

const POLL_MS = 2000;
const JOB_POLL_MS = 400;
const NOTICE_MS = 4000;
/** Refusals that sending again does not change. */
const FINAL = [400, 404, 422];

/** What a user may do; each includes those before it. */
const ROLES: Role[] = ["viewer", "reviewer", "curator", "admin"];

/** Long work of the server. */
export type JobKind = "discovering" | "checking" | "counting" | "training" | "switching";

export interface Batch {
  reviewer: string;
  decisions: Decision[];
}

class ReviewStore {
  /** Who is logged in; without accounts, somebody without a name. */
  account = $state<Account | null>(null);
  isLoggedOut = $state(false);
  project = $state<Project | null>(null);
  status = $state<Status | null>(null);
  progress = $state<Progress | null>(null);
  connected = $state(true);
  notice = $state("");
  problem = $state("");
  reviewer = $state(localStorage.getItem("reviewer") ?? "");
  /** Names that were given on this page; they are suggested again. */
  newNames = $state<string[]>([]);
  /** Decisions that the server has not acknowledged; they are sent again until it does. */
  pending = $state<Batch[]>([]);
  /** Rises when names or decisions have changed, so that views load them again. */
  version = $state(0);
  private sending = false;

  async open(): Promise<void> {
    this.account = await body(api.GET("/api/account"));
    if (this.account.name) this.reviewer = this.account.name;
    if (this.account.projects) return;
    this.status = await body(api.GET("/api/status"));
    this.progress = this.status.progress;
    this.project = await body(api.GET("/api/project"));
    window.setInterval(() => void this.poll(), POLL_MS);
  }

  async poll(): Promise<void> {
    try {
      const before = this.status;
      const status = await body(api.GET("/api/status"));
      this.status = status;
      this.progress = status.progress;
      if (before && !isSameRun(before, status)) {
        this.project = await body(api.GET("/api/project"));
        this.version += 1;
      } else if (before && before.progress.settled !== status.progress.settled) {
        this.version += 1;
      }
      this.isLoggedOut = false;
      if (!this.connected) {
        this.connected = true;
        this.notify("The server is back.");
      }
      void this.send();
    } catch (error) {
      this.fail(error);
    }
  }

  notify(text: string): void {
    this.notice = text;
    window.setTimeout(() => {
      if (this.notice === text) this.notice = "";
    }, NOTICE_MS);
  }

  /** Show an error to the user. */
  fail = (error: unknown): void => {
    if (error instanceof ConnectionError) this.connected = false;
    else if (error instanceof RequestError && error.status === LOGGED_OUT) {
      this.isLoggedOut = this.connected = true;
    } else this.problem = error instanceof Error ? error.message : String(error);
  };

  /** Whether the server permits what this needs. */
  may(role: Role): boolean {
    return ROLES.indexOf(this.account?.role ?? "viewer") >= ROLES.indexOf(role);
  }

  /** End the session, unless decisions are still waiting. */
  async logOut(): Promise<void> {
    if (this.pending.length) {
      this.notify("Wait until the last decision has reached the server.");
      return;
    }
    try {
      await api.POST("/api/log-out");
      this.leave();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Go to the log-in page after the session has ended. */
  leave(): void {
    forgetKey();
    location.replace(LOG_IN);
  }

  setReviewer(name: string): void {
    this.reviewer = name.trim();
    localStorage.setItem("reviewer", this.reviewer);
  }

  /** Send decisions; those that cannot be sent now wait in their order. */
  decide(decisions: Decision[]): Promise<void> {
    if (!this.may("reviewer")) {
      this.notify("Your account may look at specimens, but not decide on them.");
      return Promise.resolve();
    }
    for (const { taxon } of decisions) {
      if (taxon && !this.newNames.includes(taxon)) this.newNames.push(taxon);
    }
    this.pending.push({ reviewer: this.reviewer, decisions });
    return this.send();
  }

  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.pending.length) {
        await this.sendBatch($state.snapshot(this.pending[0]));
        this.pending.shift();
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.sending = false;
    }
  }

  private async sendBatch(batch: Batch): Promise<void> {
    try {
      this.apply(await body(api.POST("/api/decisions", { body: batch })));
    } catch (error) {
      if (!(error instanceof RequestError && FINAL.includes(error.status))) throw error;
      this.fail(error);
    }
  }

  /** Show the effects of a change: the answer to it may have the progress. */
  apply(answer: object): void {
    if ("progress" in answer) this.progress = answer.progress as Progress;
    this.version += 1;
  }

  /** Undo the reviewer's last decision; gives the specimen, or null if nothing was undone. */
  async undo(): Promise<string | null> {
    if (this.pending.length) {
      this.notify("Wait until the last decision has reached the server.");
      return null;
    }
    try {
      const { reviewer } = this;
      const undone = await body(api.POST("/api/decisions/undo", { body: { reviewer } }));
      this.apply(undone);
      const name = describeVerdict(undone.verdict ?? "", undone.taxon);
      const specimens = undone.count > 1 ? ` for ${undone.count} specimens` : "";
      this.notify(undone.specimen ? `Undone: ${name}${specimens}` : "You have nothing to undo.");
      return undone.specimen;
    } catch (error) {
      this.fail(error);
      return null;
    }
  }

  /** Start long work and wait for its end; gives its message, or null if it failed. */
  async run(kind: JobKind, start: () => Promise<unknown>): Promise<string | null> {
    try {
      await start();
      return await this.finished(kind);
    } catch (error) {
      this.fail(error);
      return null;
    }
  }

  private async finished(kind: JobKind): Promise<string | null> {
    for (;;) {
      await new Promise((resolve) => window.setTimeout(resolve, JOB_POLL_MS));
      await this.poll();
      if (!this.connected) continue;
      const job = this.status?.jobs[kind];
      if (job?.state === "done") return job.message;
      if (job?.state === "failed") this.problem = job.message;
      else if (!job) this.problem = "The server was restarted. Please start this again.";
      else continue;
      return null;
    }
  }

  /** All names to choose from; those of the model come first. */
  get names(): string[] {
    if (!this.project) return [];
    return [...new Set([...this.project.taxa, ...this.newNames, ...this.project.taxonomy])];
  }
}

function isSameRun(one: Status, other: Status): boolean {
  return one.model === other.model && one.identification_run === other.identification_run;
}

export const store = new ReviewStore();
