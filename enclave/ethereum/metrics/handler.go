package metrics

import (
	"bytes"
	"net/http"
	"strings"
)

const (
	textType = "text/plain; version=0.0.4; charset=utf-8"
	openType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// ServeHTTP writes the metrics as OpenMetrics if the scraper accepts that, and in
// the text format otherwise.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	open := acceptsOpenMetrics(request.Header.Values("Accept"))
	var out bytes.Buffer
	if err := r.Write(&out, open); err != nil {
		http.Error(w, "metrics could not be written", http.StatusInternalServerError)
		return
	}
	contentType := textType
	if open {
		contentType = openType
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(out.Bytes())
}

// acceptsOpenMetrics ignores weights: whoever names the format prefers it.
func acceptsOpenMetrics(headers []string) bool {
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(entry, ";")
			if strings.EqualFold(strings.TrimSpace(name), "application/openmetrics-text") {
				return true
			}
		}
	}
	return false
}
