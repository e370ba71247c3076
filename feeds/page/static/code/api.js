// Requests to the history API and the operations; a refusal becomes an ApiError in plain words.

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const BASE = "/api/v1/";
const refusals = new EventTarget();

/** Call `listener` whenever the API wants a sign-in. */
export function onSignInNeeded(listener) {
  refusals.addEventListener("401", listener);
}

/** GET `path` below /api/v1 with query `parameters`; return its JSON. */
export function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  return request(BASE + path + (query ? `?${query}` : ""), {
    headers: { accept: "application/json, application/geo+json;q=0.9" },
    signal,
  });
}

/** POST a decision, e.g. `decide("alerts", id, "acknowledge")`; return the action Kafka has. */
export function decide(things, id, action, body = {}) {
  return request(`${BASE}${things}/${encodeURIComponent(id)}/${action}`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ note: "", ...body }),
  });
}

async function request(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached; check the connection and try again.");
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) refusals.dispatchEvent(new Event("401"));
  throw new ApiError(answer.status, await explanation(answer));
}

async function explanation(answer) {
  try {
    const problem = await answer.json();
    return problem.detail ?? problem.title ?? `The server answered ${answer.status}.`;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}
