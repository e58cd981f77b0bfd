package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/browsertest"
	"holdfast/verify/channel"
	"holdfast/verify/enclavetest"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
)

// TestThePageShowsAPass drops the whole evidence of an enclave on a page that is compiled with the root of
// a PKI of the test's own in place of AWS's: AWS has signed no document that binds what Holdfast binds, and
// the page has no choice of roots. But for that root it is the page that is published.
func TestThePageShowsAPass(t *testing.T) {
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tab := browsertest.Open(t)
	html, err := assemble(t.Context(), "none", "-overlay="+trusting(t, module.Root().Raw))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "verify.html")
	if err := os.WriteFile(page, html, 0o644); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "evidence")
	if err := evidence.Write(folder, gather(t, module)); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	tab.Visit(page)
	tab.Await("!document.getElementById('files').disabled")
	tab.Choose("#files", names...)
	tab.Await("document.querySelector('#report h1')")
	var word string
	tab.Eval("document.querySelector('#report h1').textContent", &word)
	if word != "PASS" {
		t.Errorf("got %s, want PASS", word)
	}
	tab.Screenshot("verify-pass")

	without := make([]string, 0, len(names))
	for _, name := range names {
		if filepath.Base(name) != "PCRS.md" {
			without = append(without, name)
		}
	}
	tab.Choose("#files", without...)
	tab.Await("document.querySelector('#report h1').textContent !== 'PASS'")
	tab.Eval("document.querySelector('#report h1').textContent", &word)
	if word != "FAIL" {
		t.Errorf("without measurements: got %s, want FAIL", word)
	}
}

// trusting writes an overlay for the go command in which the AWS root is another, and returns its path.
func trusting(t *testing.T, root []byte) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	home, err := filepath.Abs("../../attestation/chain")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(home, "trust.go"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(root)
	changed := strings.Replace(string(source), chain.AWSRootSHA256, hex.EncodeToString(sum[:]), 1)
	if changed == string(source) {
		t.Fatal("trust.go does not hold the fingerprint")
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(home, "trust.go"):        put("trust.go", []byte(changed)),
		filepath.Join(home, "aws_root_g1.pem"): put("root.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return put("overlay.json", overlay)
}

// gather is what verify live would write of an enclave.
func gather(t *testing.T, module *nsmtest.Module) evidence.Folder {
	t.Helper()
	device := module.Device()
	e, err := enclavetest.Start(func(userData, nonce []byte) ([]byte, error) {
		return device.Attest(context.Background(), nsm.Request{UserData: userData, Nonce: nonce})
	}, enclavetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := channel.Open(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen, err := live.Fetch(t.Context(), c, live.NewNonce())
	if err != nil {
		t.Fatal(err)
	}
	var registers [3]pcrs.PCR
	for i := range registers {
		register, err := device.DescribePCR(context.Background(), i)
		if err != nil {
			t.Fatal(err)
		}
		registers[i] = register.Value
	}
	published, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1,
		PCR0: registers[0], PCR1: registers[1], PCR2: registers[2]})
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Folder{Evidence: seen, Measurements: published.Bytes()}
}
