package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/enclavetest"
	"holdfast/verify/envelope"
	"holdfast/verify/envelope/envelopetest"
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

// TestScripts runs testdata/script. A script finds bundle.hf, which identity.txt
// opens (and protected.txt, with a passphrase), newer.hf of the same configuration, other.hf of another, and kms.hf, which
// KMS alone opens. It starts an enclave with "enclave KIND [BUNDLE]", which sets $URL
// and writes PCRS.md, root.pem and $ROOT_SHA256 for it; the bundle is bundle.hf unless
// named, and "none" is none; "give" gives it a newer one, and "generate FILE"
// has it make keys. "released" checks whose data key it was given, "await"
// waits for one,
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
			"generate": generateKeys,
			"give":     giveNewer,
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
	env.Values[deviceKey{}] = new(*nsm.Device)
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
	if err := os.WriteFile(filepath.Join(env.WorkDir, "marlin.md"), f.Bytes(), 0o644); err != nil {
		return err
	}
	return makeBundles(env)
}

// dataKeys finds the data keys of a script's bundles, by file.
type dataKeys struct{}

// makeBundles writes the bundles of a script and their holder's identity.
func makeBundles(env *testscript.Env) error {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		return err
	}
	holder := []age.Recipient{identity.Recipient()}
	keys := map[string][]byte{}
	for name, options := range map[string]envelopetest.Options{
		"bundle.hf": {Recipients: holder},
		"newer.hf":  {Recipients: holder, Version: 2},
		"other.hf":  {Recipients: holder, Configuration: `{"network":{"name":"mainnet"}}`},
		"kms.hf":    {},
	} {
		e, dataKey, err := envelopetest.New(options)
		if err != nil {
			return err
		}
		keys[name] = dataKey
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), e.Bytes(), 0o644); err != nil {
			return err
		}
	}
	env.Values[dataKeys{}] = keys
	if err := os.WriteFile(filepath.Join(env.WorkDir, "identity.txt"), []byte(identity.String()+"\n"), 0o600); err != nil {
		return err
	}
	return protect(filepath.Join(env.WorkDir, "protected.txt"), identity.String(), "correct horse")
}

// protect writes an identity under a passphrase.
func protect(name, identity, passphrase string) error {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(10)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := age.Encrypt(f, recipient)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(identity)); err != nil {
		return err
	}
	return w.Close()
}

// deviceKey finds the security module of a script's enclave.
type deviceKey struct{}

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
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: enclave KIND [BUNDLE], kind one of %v", slices.Sorted(maps.Keys(kinds)))
	}
	kind, ok := kinds[args[0]]
	if !ok {
		ts.Fatalf("no enclave of kind %q", args[0])
	}
	module, err := nsmtest.New(kind.module)
	ts.Check(err)
	device := module.Device()
	kind.enclave.Bundle = giveBundle(ts, device, append(args, "bundle.hf")[1])
	e, err := enclavetest.Start(func(userData, nonce []byte) ([]byte, error) {
		return device.Attest(context.Background(), nsm.Request{UserData: userData, Nonce: nonce})
	}, kind.enclave)
	ts.Check(err)
	ts.Defer(e.Close)
	*ts.Value(enclaveKey{}).(**enclavetest.Enclave) = e
	*ts.Value(deviceKey{}).(**nsm.Device) = device
	ts.Setenv("URL", e.URL)
	sum := sha256.Sum256(module.Root().Raw)
	ts.Setenv("ROOT_SHA256", hex.EncodeToString(sum[:]))
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: module.Root().Raw})
	ts.Check(os.WriteFile(ts.MkAbs("root.pem"), root, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("PCRS.md"), measurementsOf(ts, device).Bytes(), 0o644))
}

// giveBundle does what an enclave does with a bundle from its parent: its
// configuration goes into PCR16, which is locked.
func giveBundle(ts *testscript.TestScript, device *nsm.Device, name string) *envelope.Envelope {
	if name == "none" {
		return nil
	}
	e, err := envelope.Parse([]byte(ts.ReadFile(name)))
	ts.Check(err)
	_, err = device.ExtendPCR(context.Background(), 16, e.ConfigurationDigest())
	ts.Check(err)
	ts.Check(device.LockPCR(context.Background(), 16))
	return e
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

// checkReleased compares what the enclave was given with the data key of a bundle,
// or, negated, wants it to have nothing.
func checkReleased(ts *testscript.TestScript, neg bool, args []string) {
	got := (*ts.Value(enclaveKey{}).(**enclavetest.Enclave)).Released()
	if neg {
		if got != nil {
			ts.Fatalf("the enclave was given %d bytes", len(got))
		}
		return
	}
	if want := ts.Value(dataKeys{}).(map[string][]byte)[args[0]]; !bytes.Equal(got, want) || want == nil {
		ts.Fatalf("the enclave was given %x, want %x", got, want)
	}
}

// publishContent writes a PCRS.md that lists, as a version, what the stand-in
// for image builds from a file; with a third argument it is signed.
func publishContent(ts *testscript.TestScript, _ bool, args []string) {
	content := ts.ReadFile(args[1])
	data := append([]byte(".eif\x00\x04\x00\x00"), content...)
	first, _, _ := strings.Cut(string(data), "\n")
	img := pcrs.Image{
		Architecture: pcrs.X8664, EIF: sha512.Sum384(data), Size: int64(len(data)),
		PCR0: sha512.Sum384(data), PCR1: sha512.Sum384([]byte(first)), PCR2: sha512.Sum384([]byte("fixed")),
	}
	if len(args) > 2 {
		img.PCR8 = pcrs.PCR{8}
	}
	f, err := (&pcrs.File{}).WithImage(args[0], img)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("PCRS.md"), f.Bytes(), 0o644))
}

// awaitReleased waits until the enclave was given its data key.
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

// generateKeys writes what an enclave answers after it made the key of kms.hf inside.
func generateKeys(ts *testscript.TestScript, _ bool, args []string) {
	e, err := envelope.Parse([]byte(ts.ReadFile("kms.hf")))
	ts.Check(err)
	bound := binding.Generation{Bundle: e.Digest(), Configuration: e.ConfigurationDigest(), KMSKey: e.KMS.Key, PublicKeys: e.PublicKeys}
	digest := bound.Digest()
	document, err := (*ts.Value(deviceKey{}).(**nsm.Device)).Attest(context.Background(), nsm.Request{UserData: digest[:]})
	ts.Check(err)
	data, err := json.Marshal(map[string]any{
		"bundle": e.Bytes(), "pubkeys": []string{envelopetest.PublicKey}, "document": document, "bound": bound.Encode(),
	})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// giveNewer gives the enclave another bundle of the same configuration.
func giveNewer(ts *testscript.TestScript, _ bool, args []string) {
	e, err := envelope.Parse([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	(*ts.Value(enclaveKey{}).(**enclavetest.Enclave)).Give(e)
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
