package serve

import (
	"encoding/json"
	"net/http"
)

// errorAnswer is the body of every answer that is not a success.
type errorAnswer struct {
	Error string `json:"error"`
	Code  int    `json:"code"` // the status
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, errorAnswer{message, status})
}

// writeJSON answers with a value that always encodes.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal error","code":500}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
