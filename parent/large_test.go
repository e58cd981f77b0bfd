package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
	"holdfast/parent/control"
	"holdfast/parent/control/controltest"
	"holdfast/verify/envelope"
)

// serve puts an enclave behind a control socket.
func serve(t *testing.T) (e *controltest.Enclave, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e, socket = controltest.New(), filepath.Join(dir, "control")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return e, socket
}

func TestEveryKeyOfTheLargestBundleIsRaised(t *testing.T) {
	_, socket := serve(t)
	large, err := envelope.Parse(controltest.Bundle("hoodi", 1, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	large.PublicKeys = make([][48]byte, envelope.MaxPublicKeys)
	for i := range large.PublicKeys {
		binary.BigEndian.PutUint32(large.PublicKeys[i][:], uint32(i))
	}
	path := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(path, large.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"slashing", "raise", "-control", socket, "-slot", "9", "-bundle", path}, &out, &errs); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if !strings.HasSuffix(out.String(), "raised 16384 of 16384 keys\n") {
		t.Errorf("got …%s", out.String()[max(0, out.Len()-100):])
	}
}

// TestACompleteHistoryIsReducedBeforeItIsSent: the document is longer than the enclave would take.
func TestACompleteHistoryIsReducedBeforeItIsSent(t *testing.T) {
	e, socket := serve(t)
	path := filepath.Join(t.TempDir(), "history.json")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintf(file, `{"metadata":{"interchange_format_version":"5","genesis_validators_root":"%#x"},"data":[`, e.Network)
	var block bytes.Buffer
	for n := range 10000 {
		fmt.Fprintf(&block, `{"slot":"%d","signing_root":"0x%064x"},`, n, n)
	}
	for key := 0; ; key++ {
		fmt.Fprintf(file, `{"pubkey":"0x%096x","signed_blocks":[%s{"slot":"77777"}],"signed_attestations":[]}`, key, &block)
		if at, err := file.Seek(0, 1); err != nil || at > message.MaxInterchangeSize {
			break
		}
		fmt.Fprint(file, ",")
	}
	fmt.Fprint(file, "]}")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"slashing", "import", "-control", socket, path}, &out, &errs); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	history, err := e.Store.Export(t.Context(), nil)
	if err != nil || len(history.States) < 60 {
		t.Fatalf("%d keys, %v", len(history.States), err)
	}
	for key, state := range history.States {
		if state.Block != (slashing.BlockMark{Signed: true, Slot: 77777}) {
			t.Errorf("%x: %+v", key, state)
		}
	}
}
