package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"holdfast/enclave/control/message"
	"holdfast/parent/feed"
)

// scrapeTimeout bounds one answer. Prometheus waits ten seconds by default.
const scrapeTimeout = 8 * time.Second

// openMetrics serves the enclave's metrics and the parent's own in one page.
func (h *Host) openMetrics() error {
	if h.Metrics == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", h.serveMetrics)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: scrapeTimeout,
		WriteTimeout:      2 * scrapeTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	h.do(func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { server.Close() })()
		if err := server.Serve(h.Metrics); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("metrics: %w", err)
		}
		return nil
	}, h.Metrics)
	return nil
}

// serveMetrics answers even where the enclave does not, so that its absence can be seen.
func (h *Host) serveMetrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTimeout)
	defer cancel()
	of, err := h.client.Metrics(ctx)
	if err != nil {
		h.Log.Debug("metrics", "error", err)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(append(of, own(h.feeder.Snapshot(), err == nil)...)) // the reader's connection is the reader's matter
}

// own are the parent's metrics in Prometheus' text form.
func own(s feed.Snapshot, scraped bool) string {
	var b strings.Builder
	gauge := func(name, help string, value any) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s gauge\n%[1]s %[3]v\n", name, help, value)
	}
	gauge("holdfast_parent_enclave_up", "Whether the enclave gave its own metrics to this answer.", flag(scraped))
	gauge("holdfast_parent_enclave_serving", "Whether the enclave signs with a bundle.", flag(s.Status.State == message.Serving))
	gauge("holdfast_parent_bundle_offered_version", "Version of the newest bundle that the source has, 0 if none.", s.Offered)
	serving, keys := uint64(0), 0
	if bundle := s.Status.Bundle; bundle != nil {
		serving, keys = bundle.Version, bundle.Keys
	}
	gauge("holdfast_parent_bundle_serving_version", "Version of the bundle that the enclave signs with, 0 if none.", serving)
	gauge("holdfast_parent_bundle_serving_keys", "Keys of the bundle that the enclave signs with.", keys)
	gauge("holdfast_parent_enclave_problem", "Whether the enclave says that it cannot open a bundle or reach its slashing store.",
		flag(s.Status.Problem != "" || s.Status.Slashing != nil && s.Status.Slashing.Problem != ""))
	if until := s.Status.CredentialsUntil; until != nil {
		gauge("holdfast_parent_credentials_expiry_seconds", "When the enclave's credentials for KMS end, Unix time.", until.Unix())
	}
	return b.String()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
