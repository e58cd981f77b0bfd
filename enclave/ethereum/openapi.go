package ethereum

import (
	_ "embed"
	"net/http"
)

// description is the OpenAPI document of the routes of Register and KeyManager.
//
//go:embed openapi.json
var description []byte

func serveDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(description)
}
