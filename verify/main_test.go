package main

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/enclavetest"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"verify": main, "image": standIn})
}

// standIn is a program image that "builds" image/content of a checkout, with
// two measurements of its first line.
func standIn() {
	args := os.Args[1:]
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "image:", err)
			os.Exit(1)
		}
	}
	if len(args) == 8 && args[6] == "-verify" {
		program, err := os.ReadFile(filepath.Join(args[2], "image", "program"))
		fail(err)
		fail(os.WriteFile(args[7], program, 0o755))
		args = args[:6]
	}
	if len(args) == 6 && slices.Equal([]string{args[0], args[1], args[3], args[4]}, []string{"build", "-C", "-unpublished", "-o"}) {
		content, err := os.ReadFile(filepath.Join(args[2], "image", "content"))
		fail(err)
		fail(os.WriteFile(args[5], append([]byte(".eif\x00\x04\x00\x00"), content...), 0o644))
		fmt.Println("built")
		return
	}
	if len(args) != 2 || args[0] != "measure" {
		fail(fmt.Errorf("unexpected arguments %q", args))
	}
	data, err := os.ReadFile(args[1])
	fail(err)
	first, _, _ := strings.Cut(string(data), "\n")
	fmt.Printf(`{"Measurements": {"HashAlgorithm": "Sha384 { ... }", "PCR0": "%x", "PCR1": "%x", "PCR2": "%x"}}`+"\n",
		sha512.Sum384(data), sha512.Sum384([]byte(first)), sha512.Sum384([]byte("fixed")))
}

// TestScripts runs testdata/script. A script starts an enclave with
// "enclave KIND", which sets $URL and writes PCRS.md, root.pem and $ROOT_SHA256
// for it. "released" checks what the enclave was given, "await" waits for it,
// "restart" gives the enclave new keys, and "revive" its old ones back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":    awaitReleased,
			"publish":  publishContent,
			"enclave":  startEnclave,
			"released": checkReleased,
			"restart":  restartEnclave,
			"revive":   reviveEnclave,
			"status":   checkStatus,
		},
	})
}

// setUp gives a script the real documents in $VECTORS, a PCRS.md that lists one
// of them, and a place for its enclave.
func setUp(env *testscript.Env) error {
	vectors, err := filepath.Abs("attestation/testdata")
	if err != nil {
		return err
	}
	env.Setenv("VECTORS", vectors)
	// Scripts that build share what is built already.
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return err
		}
		env.Setenv(name, strings.TrimSpace(string(value)))
	}
	env.Values[enclaveKey{}] = new(*enclavetest.Enclave)
	env.Values[reviveKey{}] = new(func())
	raw, err := os.ReadFile(filepath.Join(vectors, "marlin1.bin"))
	if err != nil {
		return err
	}
	d, err := document.Parse(raw, &report.Report{})
	if err != nil {
		return err
	}
	f, err := publishing(d.PCRs[0], d.PCRs[1], d.PCRs[2])
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "marlin.md"), f.Bytes(), 0o644)
}

// enclaveKey finds a script's enclave among its values.
type enclaveKey struct{}

// publishing makes a PCRS.md with one entry.
func publishing(pcr0, pcr1, pcr2 pcrs.PCR) (*pcrs.File, error) {
	return (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcr0, PCR1: pcr1, PCR2: pcr2,
	})
}

// kinds are the enclaves that scripts can start.
var kinds = map[string]struct {
	module  nsmtest.Options
	enclave enclavetest.Options
}{
	"genuine":  {},
	"emulated": {module: nsmtest.Options{Emulated: true}},
	"stale":    {module: nsmtest.Options{Now: func() time.Time { return time.Now().Add(-20 * time.Minute) }}},
	"debug":    {module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {}, 1: {}, 2: {}}}},
	"forged": {module: nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		t.Signed = func(s []byte) []byte { s[50] ^= 1; return s }
	}}},
	"garbled": {enclave: enclavetest.Options{Answer: func(a *enclavetest.Answer) {
		a.Document = base64.StdEncoding.EncodeToString([]byte("\x84 not a document"))
	}}},
	"unbound": {enclave: enclavetest.Options{Answer: func(a *enclavetest.Answer) {
		other := binding.Binding{TLSKey: []byte("another"), HPKEKey: make([]byte, binding.HPKEKeySize)}
		a.Binding = base64.StdEncoding.EncodeToString(other.Encode())
	}}},
	"replaying": {module: nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		t.Payload.Nonce = make([]byte, 32)
	}}},
	"another server": {enclave: enclavetest.Options{Answer: func(a *enclavetest.Answer) {
		a.Document = "not base64"
	}}},
	"tls12": {enclave: enclavetest.Options{TLS12: true}},
}

func startEnclave(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: enclave KIND, one of %v", slices.Sorted(maps.Keys(kinds)))
	}
	kind, ok := kinds[args[0]]
	if !ok {
		ts.Fatalf("no enclave of kind %q", args[0])
	}
	module, err := nsmtest.New(kind.module)
	ts.Check(err)
	device := module.Device()
	e, err := enclavetest.Start(func(userData, nonce []byte) ([]byte, error) {
		return device.Attest(context.Background(), nsm.Request{UserData: userData, Nonce: nonce})
	}, kind.enclave)
	ts.Check(err)
	ts.Defer(e.Close)
	*ts.Value(enclaveKey{}).(**enclavetest.Enclave) = e
	ts.Setenv("URL", e.URL)
	sum := sha256.Sum256(module.Root().Raw)
	ts.Setenv("ROOT_SHA256", hex.EncodeToString(sum[:]))
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: module.Root().Raw})
	ts.Check(os.WriteFile(ts.MkAbs("root.pem"), root, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("PCRS.md"), measurementsOf(ts, device).Bytes(), 0o644))
}

// measurementsOf publishes what a module measured, or something else where
// that is zero.
func measurementsOf(ts *testscript.TestScript, device *nsm.Device) *pcrs.File {
	var values [3]pcrs.PCR
	for i := range values {
		register, err := device.DescribePCR(context.Background(), i)
		ts.Check(err)
		values[i] = register.Value
		if values[i].IsZero() {
			values[i] = pcrs.PCR{byte(i + 1)}
		}
	}
	f, err := publishing(values[0], values[1], values[2])
	ts.Check(err)
	return f
}

// checkReleased compares what the enclave was given with a file, or, negated,
// wants it to have nothing.
func checkReleased(ts *testscript.TestScript, neg bool, args []string) {
	got := (*ts.Value(enclaveKey{}).(**enclavetest.Enclave)).Released()
	if neg {
		if got != nil {
			ts.Fatalf("the enclave was given %d bytes", len(got))
		}
		return
	}
	if want := ts.ReadFile(args[0]); string(got) != want {
		ts.Fatalf("the enclave was given %q, want %q", got, want)
	}
}

// publishContent writes a PCRS.md that lists, as a version, what the stand-in
// for image builds from a file. Where "signed" follows it is signed, and where
// another file follows that is the program verify.
func publishContent(ts *testscript.TestScript, _ bool, args []string) {
	content := ts.ReadFile(args[1])
	data := append([]byte(".eif\x00\x04\x00\x00"), content...)
	first, _, _ := strings.Cut(string(data), "\n")
	img := pcrs.Image{
		Architecture: pcrs.X8664, EIF: sha512.Sum384(data), Size: int64(len(data)),
		PCR0: sha512.Sum384(data), PCR1: sha512.Sum384([]byte(first)), PCR2: sha512.Sum384([]byte("fixed")),
	}
	for _, arg := range args[2:] {
		if arg == "signed" {
			img.PCR8 = pcrs.PCR{8}
		} else {
			img.Verify = sha512.Sum384([]byte(ts.ReadFile(arg)))
		}
	}
	f, err := (&pcrs.File{}).WithImage(args[0], img)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("PCRS.md"), f.Bytes(), 0o644))
}

// awaitReleased waits until the enclave was given its keys.
func awaitReleased(ts *testscript.TestScript, _ bool, _ []string) {
	for range 600 {
		if (*ts.Value(enclaveKey{}).(**enclavetest.Enclave)).Released() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("the enclave was given nothing in 30 s")
}

// reviveKey finds the way back to the enclave's life before its restart.
type reviveKey struct{}

func restartEnclave(ts *testscript.TestScript, _ bool, _ []string) {
	revive, err := (*ts.Value(enclaveKey{}).(**enclavetest.Enclave)).Restart()
	ts.Check(err)
	*ts.Value(reviveKey{}).(*func()) = revive
}

func reviveEnclave(ts *testscript.TestScript, _ bool, _ []string) {
	(*ts.Value(reviveKey{}).(*func()))()
}

// checkStatus runs a command and compares its exit status.
func checkStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("got exit status %s, want %s", got, args[0])
	}
}

func TestNoCommandIsAUsageError(t *testing.T) {
	var out, err strings.Builder
	if got := run(t.Context(), nil, &out, &err); got != exitUsage || out.Len() != 0 || !strings.HasPrefix(err.String(), "usage:") {
		t.Errorf("got status %d, stdout %q, stderr %q", got, out.String(), err.String())
	}
}

// commands are all of them.
var commands = []string{"live", "document", "evidence", "release", "policy", "build", "history"}

func TestTheDocumentationShowsEveryCommand(t *testing.T) {
	page, err := os.ReadFile("../docs/verification.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range commands {
		if !strings.Contains(string(page), "bin/verify "+name+" ") {
			t.Errorf("no example of verify %s", name)
		}
		if !strings.Contains(usage, "verify "+name+" ") {
			t.Errorf("verify %s is not in the usage", name)
		}
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, name := range commands {
		var out, err strings.Builder
		if got := run(t.Context(), []string{name, "--help"}, &out, &err); got != 0 || err.Len() != 0 {
			t.Errorf("%s: got status %d, stderr %q", name, got, err.String())
		}
		if want := fmt.Sprintf("usage: verify %s", name); !strings.HasPrefix(out.String(), want) || !strings.Contains(out.String(), "examples:") {
			t.Errorf("%s: got help %q", name, out.String())
		}
	}
}
