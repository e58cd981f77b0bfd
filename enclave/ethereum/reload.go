package ethereum

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// reloadTimeout bounds a reload; it is Web3Signer's default.
const reloadTimeout = 30 * time.Minute

// ErrPartly, in the error of Config.Reload, says that some of it failed and the
// rest was done.
var ErrPartly = errors.New("reloaded in part")

// reloader runs one reload at a time. Its zero value is idle.
type reloader struct {
	mu      sync.Mutex
	running bool
	last    reloadStatus
}

type reloadStatus struct {
	Status string `json:"status"`
	Time   string `json:"lastOperationTime,omitempty"`
	Error  string `json:"lastError,omitempty"`
}

// start marks a reload as running, unless one is.
func (r *reloader) start() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return false
	}
	r.running = true
	return true
}

// finish keeps what became of a reload.
func (r *reloader) finish(err error) {
	last := reloadStatus{Status: "completed", Time: time.Now().UTC().Format(time.RFC3339Nano)}
	if err != nil {
		last.Status, last.Error = "failed", err.Error()
	}
	if errors.Is(err, ErrPartly) {
		last.Status = "completed_with_errors"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.last = false, last
}

func (r *reloader) status() reloadStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.last
	switch {
	case r.running:
		status.Status = "running"
	case status.Status == "":
		status.Status = "idle"
	}
	return status
}

type reloadAnswer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func (s *Service) serveReload(w http.ResponseWriter, r *http.Request) {
	if !s.reload.start() {
		writeJSON(w, http.StatusConflict, reloadAnswer{"error", "A reload operation is already in progress. Please try again later."})
		return
	}
	signer := s.loaded.Load()
	if signer == nil || signer.Reload == nil {
		s.reload.finish(nil)
	} else {
		go s.runReload(context.WithoutCancel(r.Context()), signer.Reload)
	}
	writeJSON(w, http.StatusAccepted, reloadAnswer{"accepted",
		"Reload operation accepted and is running in the background. Use GET /reload to check status."})
}

func (s *Service) runReload(ctx context.Context, reload func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	err := reload(ctx)
	if err != nil {
		s.logger.LogAttrs(ctx, slog.LevelError, "reload failed", slog.Any("error", err))
	}
	s.reload.finish(err)
}

func (s *Service) serveReloadStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.reload.status())
}
