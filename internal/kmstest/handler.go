package kmstest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxRequestSize bounds a request: an attestation document of 256 KiB, which AWS
// allows, and everything else.
const maxRequestSize = 512 << 10

// A failure is an error of AWS.
type failure struct {
	code, message string
	status        int // 400 when zero
}

// ServeHTTP answers one request.
func (k *KMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", uuid())
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestSize))
	if err != nil {
		write(w, nil, &failure{code: "RequestEntityTooLargeException", message: "too large", status: http.StatusRequestEntityTooLarge})
		return
	}
	if fault := k.fail(r); fault != nil {
		write(w, nil, fault)
		return
	}
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	call := &call{kms: k, operation: operation}
	answer, fault := call.answer(r, body)
	k.record(call, fault)
	write(w, answer, fault)
}

// fail applies the faults that come before any thought.
func (k *KMS) fail(r *http.Request) *failure {
	k.mu.Lock()
	faults := k.faults
	k.faults.Throttle = max(0, k.faults.Throttle-1)
	if faults.Throttle == 0 {
		k.faults.Internal = max(0, k.faults.Internal-1)
	}
	k.mu.Unlock()
	select {
	case <-time.After(faults.Delay):
	case <-r.Context().Done():
	}
	switch {
	case faults.Down:
		panic(http.ErrAbortHandler)
	case faults.Throttle > 0:
		return &failure{code: "ThrottlingException", message: "Rate exceeded"}
	case faults.Internal > 0:
		return &failure{code: "KMSInternalException", status: http.StatusInternalServerError}
	}
	return nil
}

func (k *KMS) record(c *call, fault *failure) {
	done := Call{Operation: c.operation, Document: c.document}
	if c.caller != nil {
		done.Principal = c.caller.principal
	}
	if fault != nil {
		done.Error = fault.code
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, done)
}

func write(w http.ResponseWriter, answer any, fault *failure) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	status := http.StatusOK
	if fault != nil {
		status = http.StatusBadRequest
		if fault.status != 0 {
			status = fault.status
		}
		body := map[string]string{"__type": fault.code}
		if fault.message != "" {
			body[messageName(fault.code)] = fault.message
		}
		answer = body
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}

// messageName is how a body names its message: that of a refusal by IAM is
// spelled otherwise than those of KMS itself.
func messageName(code string) string {
	if code == "AccessDeniedException" {
		return "Message"
	}
	return "message"
}
