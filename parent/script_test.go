package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/enclave/control/message"
	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	enclavejournal "holdfast/enclave/slashing/journal"
	"holdfast/enclave/tables/rows/rowstest"
	"holdfast/parent/control"
	"holdfast/parent/control/controltest"
	"holdfast/parent/journal"
)

// TestScripts runs testdata/script. In a script,
//
//	enclave STATE      has an enclave in one of the states below on the control socket hf.sock
//	operator           makes the operator's key operator.pem, whose statements alone the enclave believes
//	lifted             checks that the enclave's floor is lifted; ! lifted that it stands
//	bundle FILE        writes a bundle that nothing can open
//	dynamodb           serves AWS's sample's tables on $DYNAMODB
//	journal DIR        has the enclave's store write a journal
//	status N COMMAND…  wants the exit code N of a command
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[enclaveKey{}] = new(*controltest.Enclave)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"enclave": setEnclave, "operator": makeOperator, "lifted": checkLifted,
			"bundle": writeBundle, "dynamodb": serveTables, "journal": writeJournal, "status": checkStatus,
		},
	})
}

// enclaveKey finds a script's enclave among its values.
type enclaveKey struct{}

// statuses are those that a script may ask for, made anew for each.
func statuses() map[string]message.Status {
	bundle := message.Bundle{Name: "hoodi", Version: 3, Configuration: strings.Repeat("ab", 48), Keys: 2}
	held, wrapped := bundle, bundle
	held.Age, wrapped.KMSKey = true, controltest.KMSKey
	return map[string]message.Status{
		"waiting": {State: message.WaitingForBundle},
		"pending": {State: message.WaitingForKey, Problem: "KMS: AccessDeniedException\x1b[2J, request 1234", Pending: &wrapped},
		"serving": {State: message.Serving, Bundle: &held, Slashing: &message.Slashing{
			Store: "journal", Freshness: "strict", Floor: &message.Floor{Epoch: 7, Slot: 230},
		}},
		"storeless": {State: message.Serving, Bundle: &held, Slashing: &message.Slashing{
			Store: "dynamodb", Problem: "dial vsock host(2):8001: connection refused",
		}},
	}
}

func enclaveOf(ts *testscript.TestScript) **controltest.Enclave {
	return ts.Value(enclaveKey{}).(**controltest.Enclave)
}

func setEnclave(ts *testscript.TestScript, neg bool, args []string) {
	status, known := statuses()[strings.Join(args, " ")]
	if neg || !known {
		ts.Fatalf("usage: enclave waiting|pending|serving|storeless")
	}
	e := enclaveOf(ts)
	if *e == nil {
		*e = startEnclave(ts)
	}
	(*e).SetStatus(status)
}

// startEnclave serves an enclave with two keys on hf.sock.
func startEnclave(ts *testscript.TestScript) *controltest.Enclave {
	e := controltest.New()
	e.Head = message.Head{
		Configuration: strings.Repeat("ab", 48), Challenge: strings.Repeat("cd", 32), Head: strings.Repeat("ef", 32),
		Sequence: 12, Keys: 2, Floor: &message.Floor{Epoch: 7, Slot: 230},
	}
	history := slashing.Interchange{GenesisValidatorsRoot: e.Network, States: map[slashing.PublicKey]slashing.State{
		{0xaa}: {Block: slashing.BlockMark{Signed: true, Slot: 100}, Attestation: slashing.AttestationMark{Signed: true, Source: 2, Target: 3}},
		{0xbb}: {Attestation: slashing.AttestationMark{Signed: true, Source: 5, Target: 6}},
	}}
	ts.Check(e.Store.Import(context.Background(), history))
	l, err := control.Listen(ts.MkAbs("hf.sock"))
	ts.Check(err)
	server := &http.Server{Handler: e}
	go server.Serve(l)
	ts.Defer(func() { server.Close() })
	return e
}

func makeOperator(ts *testscript.TestScript, _ bool, _ []string) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs("operator.pem"), block, 0o600))
	e := *enclaveOf(ts)
	e.Verify = func(said message.Statement) error { return verifyStatement(e.Head, said, public) }
}

// verifyStatement does what an enclave does.
func verifyStatement(head message.Head, said message.Statement, operator ed25519.PublicKey) error {
	signature, err := hex.DecodeString(said.Signature)
	if err != nil {
		return err
	}
	statement, err := parseHead(head)
	if err != nil {
		return err
	}
	if said.Challenge != head.Challenge || said.Head != head.Head {
		return fmt.Errorf("the statement is of another start of the enclave, or of another journal")
	}
	statement.Complete = said.Complete
	return statement.Verify(operator, signature)
}

func checkLifted(ts *testscript.TestScript, neg bool, _ []string) {
	if lifted := (*enclaveOf(ts)).Status().Slashing.Floor == nil; lifted == neg {
		ts.Fatalf("floor lifted: %v", lifted)
	}
}

func writeBundle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bundle FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), controltest.Bundle("hoodi", 1, "{}"), 0o600))
}

func serveTables(ts *testscript.TestScript, _ bool, _ []string) {
	s := &rowstest.Server{TLS: rowstest.Identity()}
	for n := range 5 {
		s.Validators = append(s.Validators, rowstest.Validator("stack", n, n != 2))
	}
	server := httptest.NewServer(s)
	ts.Defer(server.Close)
	ts.Setenv("DYNAMODB", server.URL)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		ts.Setenv(name, value)
	}
}

// checkStatus runs a command of ours and wants its exit code.
func checkStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("got exit code %s, want %s", got, args[0])
	}
}

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// TestEveryCommandOfTheOperationsPageIsRun holds the page to testdata/script/operations.txt, which runs its
// commands on a test's enclave, and to the flags of emulate, which needs a machine.
func TestEveryCommandOfTheOperationsPageIsRun(t *testing.T) {
	var page []byte
	for _, name := range []string{"../docs/operations.md", "../docs/moving.md"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page = append(page, data...)
	}
	script, err := os.ReadFile("testdata/script/operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, block := range shBlock.FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			command, ours := strings.CutPrefix(strings.TrimSpace(line), "bin/parent ")
			if !ours {
				continue
			}
			seen++
			if flags, ok := strings.CutPrefix(command, "emulate "); ok {
				e := &emulation{stdout: t.Output(), stderr: t.Output()}
				if err := e.parse(strings.Fields(flags)); err != nil {
					t.Errorf("%s: %v", command, err)
				}
				continue
			}
			command, _, _ = strings.Cut(command, " >")
			if !strings.Contains(string(script), "parent "+command+"\n") {
				t.Errorf("operations.txt does not run %q", command)
			}
		}
	}
	if seen < 15 {
		t.Errorf("found %d commands: the page is not read", seen)
	}
}

func TestEveryVerbExplainsItself(t *testing.T) {
	for command, verbs := range map[string]map[string]verb{"slashing": slashingVerbs, "tables": {"export": tablesExport}} {
		var help strings.Builder
		if code := run(t.Context(), []string{command, "-h"}, &help, t.Output()); code != exitDone {
			t.Errorf("%s -h: exit code %d", command, code)
		}
		for name := range verbs {
			if !strings.Contains(help.String(), name) {
				t.Errorf("%s -h does not name %s", command, name)
			}
			var out strings.Builder
			if code := run(t.Context(), []string{command, name, "-h"}, &out, t.Output()); code != exitDone ||
				!strings.HasPrefix(out.String(), "usage: parent "+command+" "+name) || !strings.Contains(out.String(), "\n  parent "+command+" "+name) {
				t.Errorf("%s %s -h: exit code %d, help without an example:\n%s", command, name, code, &out)
			}
		}
	}
}

// writeJournal has the enclave's own store write a journal through the server.
func writeJournal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: journal DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.Mkdir(dir, 0o700))
	socket := ts.MkAbs("journal.sock")
	l, err := net.Listen("unix", socket)
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&journal.Server{Dir: dir}).Serve(ctx, l) }()
	store, err := enclavejournal.Open(ctx, enclavejournal.Config{
		Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) },
		Key:  secret.New(bytes.Repeat([]byte{7}, 32)), Name: "hoodi", Network: slashing.Root{1}, Log: slog.New(slog.DiscardHandler),
	})
	ts.Check(err)
	for target := range uint64(3) {
		if d := store.Record(ctx, slashing.Root{1}, slashing.PublicKey{1}, slashing.Attestation{Source: target, Target: target + 1}); d.Answer != slashing.Allowed {
			ts.Fatalf("recording: %v", d.Err)
		}
	}
	store.Close()
	cancel()
	ts.Check(<-done)
}
