// The server's API, and what went wrong as one kind of error.

export class Problem extends Error {
  constructor(status, error, hint) {
    // Hints of the API are of no use on a page; those of the command line are for a terminal.
    const place = hint?.includes("--") ? "In a terminal: " : "";
    super(!hint || hint.includes("openapi") ? error : `${error} ${place}${hint}`);
    this.status = status;
  }
}

async function ask(method, path, { json, body, signal } = {}) {
  const options = { method, signal };
  if (json !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(json);
  } else if (body !== undefined) {
    options.headers = { "content-type": "application/octet-stream" };
    options.body = body;
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.", "Is mcad-mobile serve still running?");
  }
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({ error: response.statusText, hint: "" }));
  throw new Problem(response.status, problem.error, problem.hint);
}

const indexPath = (index) => `/api/indexes/${encodeURIComponent(index)}`;

export const status = () => ask("GET", "/api/status");
export const folders = (index) => ask("GET", `${indexPath(index)}/folders`);
export const search = (json, signal) => ask("POST", "/api/search", { json, signal });
export const compare = (json, signal) => ask("POST", "/api/compare", { json, signal });
export const upload = (file) => ask("POST", "/api/uploads", { body: file });
export const startIndexing = (json) => ask("POST", "/api/indexing", { json });
export const stopIndexing = () => ask("DELETE", "/api/indexing");

// Of a video, at a moment in milliseconds.
const at = (moment) => (moment == null ? "" : `?at=${moment}`);
export const thumbnail = (index, id, moment) => `${indexPath(index)}/photos/${id}/thumbnail${at(moment)}`;
export const view = (index, id, moment) => `${indexPath(index)}/photos/${id}/view${at(moment)}`;
export const video = (index, id) => `${indexPath(index)}/photos/${id}/video`;
export const text = (index, id) => ask("GET", `${indexPath(index)}/photos/${id}/text`);
export const uploaded = (id) => `/api/uploads/${id}/thumbnail`;
