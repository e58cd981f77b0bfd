package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/enclave/secret"
	"holdfast/enclave/tables/rows/rowstest"
	"holdfast/keys/keyfiles/keyfilestest"
	"holdfast/parent/control"
	"holdfast/parent/control/controltest"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
	"holdfast/verify/pcrs"
)

// A maker is an enclave that makes bundles behind a control socket. What it attests is
// signed below a root of the test's.
type maker struct {
	*holding
	enclave *controltest.Enclave
	module  *nsmtest.Module
	pinned  bool

	// What a hostile enclave, or one that is not the published one, does otherwise.
	asked    func(*message.Generate) // before it is done
	bound    func(*binding.Generation)
	answered func(*message.Generated)
	register [48]byte // in place of the configuration's digest
}

// measured are the registers that the test publishes.
var measured = map[int]nsm.Digest{0: {0: 1}, 1: {0: 2}, 2: {0: 3}}

// startMaker makes a folder under a KMS key, and an enclave with credentials.
func startMaker(t *testing.T) *maker {
	t.Helper()
	return hold(t, "--kms-key", kmsKey).meetMaker()
}

// meetMaker starts an enclave with credentials for whoever works in this folder.
func (h *holding) meetMaker() *maker {
	h.t.Helper()
	m := &maker{holding: h, enclave: controltest.New()}
	var err error
	if m.module, err = nsmtest.New(nsmtest.Options{PCRs: measured, Indefinite: true}); err != nil {
		h.t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	m.enclave.SetStatus(message.Status{State: message.WaitingForBundle, CredentialsUntil: &until})
	m.enclave.Make = func(asked message.Generate) (message.Generated, error) {
		if m.asked != nil {
			m.asked(&asked)
		}
		var scalars []secret.Bytes
		for range asked.Count {
			scalars = append(scalars, bls.GenerateScalar())
		}
		return m.seal(asked, scalars)
	}
	m.enclave.Move = m.move
	m.listen()
	m.publish()
	return m
}

// listen serves the socket hf.sock.
func (m *maker) listen() {
	m.t.Helper()
	listener, err := control.Listen("hf.sock")
	if err != nil {
		m.t.Fatal(err)
	}
	server := &http.Server{Handler: m.enclave}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	m.t.Cleanup(func() {
		server.Close()
		<-served
	})
}

// publish writes the measurements as PCRS.md, and the root of the module.
func (m *maker) publish() {
	m.t.Helper()
	published, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR(measured[0]), PCR1: pcrs.PCR(measured[1]), PCR2: pcrs.PCR(measured[2]),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	write(m.t, "PCRS.md", string(published.Bytes()))
	write(m.t, "root.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.module.Root().Raw})))
}

// trusting are a command's words with those that trust the test's root.
func (m *maker) trusting(words ...string) []string {
	return append(words, "--control", "hf.sock", "--root", "root.pem", "--root-sha256", fmt.Sprintf("%x", sha256.Sum256(m.module.Root().Raw)))
}

// move seals the keys of active rows, of which it takes the scalar that keyfilestest
// has for the number in the ciphertext.
func (m *maker) move(asked message.Tables) (message.Generated, error) {
	var scalars []secret.Bytes
	for _, row := range asked.Validators {
		for n := byte(1); n <= 3; n++ {
			if row.Active && canonicalKey(row.PublicKey) == keyfilestest.PublicKey(n).String() {
				scalars = append(scalars, secret.New(append(make([]byte, 31), n)))
			}
		}
	}
	return m.seal(message.Generate{Nonce: asked.Nonce, Name: asked.Name, Version: asked.Version, Configuration: asked.Configuration}, scalars)
}

// seal does what enclave/ceremony.go does.
func (m *maker) seal(asked message.Generate, scalars []secret.Bytes) (message.Generated, error) {
	configuration, err := bundle.ParseConfiguration(asked.Configuration)
	if err != nil {
		return message.Generated{}, err
	}
	sealed, err := bundle.Seal(bundle.Draft{
		Name: asked.Name, Version: asked.Version, Configuration: configuration.Canonical(),
		Secrets: bundle.Secrets{SlashingKey: secret.New(make([]byte, 32)), Validators: scalars},
		KMS:     &envelope.KMSWrap{Key: configuration.KMS.Key, Ciphertext: []byte("wrapped")},
	}, bundletest.NewDataKey())
	if err != nil {
		return message.Generated{}, err
	}
	return m.attest(asked, configuration, sealed)
}

func (m *maker) attest(asked message.Generate, c *bundle.Configuration, sealed *envelope.Envelope) (message.Generated, error) {
	device, ctx := m.module.Device(), m.t.Context()
	if !m.pinned {
		digest := nsm.Digest(c.Digest())
		if m.register != [48]byte{} {
			digest = m.register
		}
		if _, err := device.ExtendPCR(ctx, configurationRegister, digest); err != nil {
			return message.Generated{}, err
		}
		if err := device.LockPCR(ctx, configurationRegister); err != nil {
			return message.Generated{}, err
		}
		m.pinned = true
	}
	g := binding.Generation{Bundle: sealed.Digest(), KMSKey: sealed.KMS.Key, Configuration: sealed.ConfigurationDigest(), PublicKeys: sealed.PublicKeys}
	if m.bound != nil {
		m.bound(&g)
	}
	digest := g.Digest()
	nonce, err := hex.DecodeString(asked.Nonce)
	if err != nil {
		return message.Generated{}, err
	}
	document, err := device.Attest(ctx, nsm.Request{UserData: digest[:], Nonce: nonce})
	if err != nil {
		return message.Generated{}, err
	}
	made := message.Generated{Bundle: sealed.Bytes(), Document: document, Bound: g.Encode()}
	for _, key := range sealed.PublicKeys {
		made.PublicKeys = append(made.PublicKeys, bls.PublicKey(key).String())
	}
	if m.answered != nil {
		m.answered(&made)
	}
	return made, nil
}

// nothingWritten wants neither bundle nor evidence.
func (m *maker) nothingWritten() {
	m.t.Helper()
	for _, name := range []string{"bundle.hf", "bundle.hf.evidence.json"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			m.t.Errorf("%s: got %v, want none", name, err)
		}
	}
}

// said wants each text among what was printed.
func (m *maker) said(texts ...string) {
	m.t.Helper()
	for _, text := range texts {
		if !strings.Contains(m.printed.String(), text) {
			m.t.Errorf("%q is not said in:\n%s", text, &m.printed)
		}
	}
}

func readBundle(t *testing.T, name string) *envelope.Envelope {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := envelope.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestKeysAreMadeInsideAndVerifiedBeforeTheyAreWritten(t *testing.T) {
	m := startMaker(t)
	m.want(0, m.trusting("make", "--count", "3")...)
	e := readBundle(t, "bundle.hf")
	if len(e.PublicKeys) != 3 || e.Version != 1 || e.Name != "hoodi" || e.Age != nil {
		t.Errorf("got %s version %d, %d keys", e.Name, e.Version, len(e.PublicKeys))
	}
	m.said("PASS: the enclave runs release v1.0.0", bls.PublicKey(e.PublicKeys[2]).String(), "only copy", "evidence       bundle.hf.evidence.json")

	// What was made is not overwritten, and another bundle has another version.
	m.want(exitFailed, m.trusting("make", "--count", "3")...)
	m.said("bundle.hf exists, and is not overwritten")
	m.printed.Reset()
	m.want(0, m.trusting("make", "--count", "1", "--out", "second.hf", "--json")...)
	m.said("in place of version 1", `"version": 2`, `"evidence": "second.hf.evidence.json"`)
	if second := readBundle(t, "second.hf"); second.Version != 2 || len(second.PublicKeys) != 1 {
		t.Errorf("got version %d, %d keys", second.Version, len(second.PublicKeys))
	}
}

func TestNothingThatIsNotAttestedIsWritten(t *testing.T) {
	other := strings.Replace(kmsKey, "1234abcd", "99999999", 1)
	for name, test := range map[string]struct {
		change func(*maker)
		want   string
	}{
		"another nonce":         {func(m *maker) { m.asked = func(g *message.Generate) { g.Nonce = strings.Repeat("ab", 32) } }, "D1 "},
		"another name":          {func(m *maker) { m.asked = func(g *message.Generate) { g.Name = "other" } }, "want hoodi version 1"},
		"another version":       {func(m *maker) { m.asked = func(g *message.Generate) { g.Version++ } }, "want hoodi version 1"},
		"fewer keys":            {func(m *maker) { m.asked = func(g *message.Generate) { g.Count-- } }, "got 1 keys, want 2"},
		"another KMS key":       {func(m *maker) { m.asked = rewrite(kmsKey, other) }, "has configuration"},
		"another configuration": {func(m *maker) { m.asked = rewrite("vc-1", "vc-2") }, "has configuration"},
		"another bound KMS key": {func(m *maker) { m.bound = func(g *binding.Generation) { g.KMSKey = other } }, "another KMS key"},
		"another bound bundle":  {func(m *maker) { m.bound = func(g *binding.Generation) { g.Bundle[0] ^= 1 } }, "another bundle"},
		"another register":      {func(m *maker) { m.register = [48]byte{1} }, "PCR16 is"},
		"another image": {func(m *maker) {
			write(m.t, "PCRS.md", strings.ReplaceAll(read(m.t, "PCRS.md"), "0300000000", "0900000000"))
		}, "E1 "},
		"another root":       {func(m *maker) { m.module = otherModule(m.t) }, "FAIL: "},
		"a damaged document": {func(m *maker) { m.answered = func(g *message.Generated) { g.Document[len(g.Document)/2] ^= 1 } }, "FAIL: "},
		"a damaged bundle":   {func(m *maker) { m.answered = func(g *message.Generated) { g.Bundle[len(g.Bundle)-1] ^= 1 } }, "another bundle"},
		"nothing":            {func(m *maker) { m.answered = func(g *message.Generated) { *g = message.Generated{} } }, "the enclave's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaker(t)
			words := m.trusting("make", "--count", "2")
			test.change(m)
			m.want(exitUnverified, words...)
			m.said(test.want)
			m.nothingWritten()
		})
	}
}

func rewrite(old, replacement string) func(*message.Generate) {
	return func(g *message.Generate) {
		g.Configuration = []byte(strings.Replace(string(g.Configuration), old, replacement, 1))
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// otherModule is one of another root.
func otherModule(t *testing.T) *nsmtest.Module {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{PCRs: measured})
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestAnEmulatedEnclaveIsAcceptedByNameOnly(t *testing.T) {
	m := startMaker(t)
	var err error
	if m.module, err = nsmtest.New(nsmtest.Options{PCRs: measured, Emulated: true}); err != nil {
		t.Fatal(err)
	}
	m.want(exitUnverified, "make", "--count", "1", "--control", "hf.sock")
	m.said("EMULATED", "--unsafe-accept-emulated")
	m.nothingWritten()
	m.want(0, "make", "--count", "1", "--control", "hf.sock", "--unsafe-accept-emulated")
	m.said("UNSAFE: EMULATED")
}

func TestWhatTheEnclaveRefusesIsExplained(t *testing.T) {
	refusal := func(code int, reason string) func(*maker) {
		return func(m *maker) {
			m.enclave.Make = func(message.Generate) (message.Generated, error) {
				return message.Generated{}, &client.RefusedError{Code: code, Reason: reason}
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*maker)
		want   []string
	}{
		"no credentials": {func(m *maker) { m.enclave.SetStatus(message.Status{State: message.WaitingForBundle}) }, []string{"no AWS credentials yet", "parent emulate -credentials imds"}},
		"another configuration": {func(m *maker) {
			m.enclave.SetStatus(message.Status{Bundle: &message.Bundle{Configuration: "00"}})
		}, []string{"runs under configuration 00", "restart it"}},
		"a conflict":          {refusal(409, "this enclave runs under another configuration"), []string{"another configuration", "restart it"}},
		"credentials expired": {refusal(500, "kms: credentials are absent"), []string{"parent emulate -credentials"}},
		"KMS":                 {refusal(500, "KMS GenerateDataKey: AccessDeniedException"), []string{"kms:GenerateDataKey", "PCR16", "verify policy FILE", kmsKey}},
		"an escape":           {refusal(400, "a\x1b[2Jb"), []string{"a\uFFFD[2Jb"}},
		"another refusal":     {refusal(400, "got count 0"), []string{"refused (400): got count 0"}},
		"no enclave":          {func(m *maker) { os.Remove("hf.sock") }, []string{"reaching the enclave", "parent emulate -control"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaker(t)
			test.change(m)
			m.want(exitFailed, m.trusting("make", "--count", "1")...)
			m.said(test.want...)
			m.nothingWritten()
		})
	}
}

func TestWhatCouldNotBeSealedInsideCostsNoVersion(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(t *testing.T, configuration string) string
		want string
	}{
		"no client":     {func(_ *testing.T, c string) string { return without(c, "clients") }, "names no client"},
		"no KMS key":    {func(_ *testing.T, c string) string { return without(c, "kms") }, "names no KMS key"},
		"a key manager": {func(_ *testing.T, c string) string { return with(c, "api", map[string]any{"keymanager": true}) }, "key manager"},
		"a table": {func(_ *testing.T, c string) string {
			return with(c, "slashing", map[string]any{"store": "dynamodb", "table": "arn:aws:dynamodb:eu-central-1:111122223333:table/slashing"})
		}, "use the journal"},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaker(t)
			file := filepath.Join("holdfast", "configuration.json")
			write(t, file, test.edit(t, read(t, file)))
			m.want(exitFailed, m.trusting("make", "--count", "1")...)
			m.said(test.want)
			m.nothingWritten()
			if state := read(t, filepath.Join("holdfast", "state.json")); !strings.Contains(state, `"version":0`) {
				t.Errorf("a version was spent: %s", state)
			}
		})
	}
}

// with sets a field of a configuration, and without takes one out.
func with(configuration, field string, value any) string {
	var o map[string]any
	json.Unmarshal([]byte(configuration), &o)
	if o[field] = value; value == nil {
		delete(o, field)
	}
	data, _ := json.Marshal(o)
	return string(data)
}

func without(configuration, field string) string { return with(configuration, field, nil) }

func TestACommandLineThatCannotBeMeantIsRefused(t *testing.T) {
	m := startMaker(t)
	for _, words := range [][]string{
		{"make", "--count", "1"},
		m.trusting("make"),
		m.trusting("make", "--count", "1025"),
		{"make", "--count", "1", "--control", "hf.sock", "--root", "root.pem"},
		m.trusting("import-tables"),
		m.trusting("import-tables", "--uuid", "stack", "--from", "tables.json"),
		m.trusting("import-tables", "--from", "tables.json", "--region", "us-east-1"),
	} {
		m.want(exitUsage, words...)
	}
	m.want(exitFailed, m.trusting("make", "--count", "1", "--pcrs", "nowhere")...)
	m.said("--pcrs")
	write(t, "PCRS.md", "hello")
	m.want(exitUnverified, m.trusting("make", "--count", "1")...)
	m.nothingWritten()
}

// exported writes tables.json as `parent tables export` does: rows of two keys that are
// active, one of which has 0x and capitals, and of one that is not.
func exported(t *testing.T) {
	t.Helper()
	var rows []message.ValidatorRow
	for n := byte(1); n <= 3; n++ {
		key := strings.TrimPrefix(keyfilestest.PublicKey(n).String(), "0x")
		if n == 2 {
			key = "0x" + strings.ToUpper(key)
		}
		rows = append(rows, message.ValidatorRow{UUID: "stack", PublicKey: key, Active: n != 3, Encrypted: "AAAA"})
	}
	data, err := json.Marshal(message.Tables{Validators: rows})
	if err != nil {
		t.Fatal(err)
	}
	write(t, "tables.json", string(data))
}

func TestAnExportedFileIsMovedAndWhatWasLeftOutIsSaid(t *testing.T) {
	m := startMaker(t)
	exported(t)
	m.want(0, m.trusting("import-tables", "--from", "tables.json")...)
	if e := readBundle(t, "bundle.hf"); len(e.PublicKeys) != 2 {
		t.Errorf("got %d keys, want 2", len(e.PublicKeys))
	}
	m.said("skipped        "+keyfilestest.PublicKey(3).String()+": inactive", "parent slashing raise", keyfilestest.PublicKey(1).String())
	m.printed.Reset()
	m.want(0, m.trusting("import-tables", "--from", "tables.json", "--json", "--out", "again.hf")...)
	m.said(`"skipped": {`, `"public_keys": [`)
}

// sampleTables serves rows of three keys, of which the third is not active, and gives
// this process credentials to read them. It returns their URL.
func sampleTables(t *testing.T) string {
	t.Helper()
	s := &rowstest.Server{TLS: rowstest.Identity()}
	for n := byte(1); n <= 3; n++ {
		row := rowstest.Validator("stack", int(n), n != 3)
		row["pubkey"] = rowstest.Text(strings.TrimPrefix(keyfilestest.PublicKey(n).String(), "0x"))
		s.Validators = append(s.Validators, row)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_REGION": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

func TestTheTablesThemselvesAreMoved(t *testing.T) {
	m := startMaker(t)
	tables := sampleTables(t)
	var given *message.TLSRow
	move := m.enclave.Move
	m.enclave.Move = func(asked message.Tables) (message.Generated, error) {
		given = asked.TLS
		return move(asked)
	}
	words := m.trusting("import-tables", "--uuid", "stack", "--tls-table", rowstest.TLSTable, "--endpoint-url", tables)
	m.want(exitFailed, words...)
	m.said("--region or AWS_REGION")
	m.want(0, append(words, "--region", "eu-central-1")...)
	if e := readBundle(t, "bundle.hf"); len(e.PublicKeys) != 2 || given == nil || given.EncryptedKey == "" {
		t.Errorf("got %d keys, TLS row %+v", len(e.PublicKeys), given)
	}
}

func TestABundleOfOtherKeysThanTheActiveRowsIsNotWritten(t *testing.T) {
	for name, change := range map[string]func(*message.Tables){
		"one too few":  func(asked *message.Tables) { asked.Validators[0].Active = false },
		"one too many": func(asked *message.Tables) { asked.Validators[2].Active = true },
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaker(t)
			exported(t)
			move := m.enclave.Move
			m.enclave.Move = func(asked message.Tables) (message.Generated, error) {
				change(&asked)
				return move(asked)
			}
			m.want(exitUnverified, m.trusting("import-tables", "--from", "tables.json")...)
			m.said("not those of the active rows", "0x")
			m.nothingWritten()
		})
	}
}

func TestRowsThatCannotBeMovedAreSaid(t *testing.T) {
	m := startMaker(t)
	exported(t)
	write(t, "none.json", strings.ReplaceAll(read(t, "tables.json"), `"active":true`, `"active":false`))
	m.want(exitFailed, m.trusting("import-tables", "--from", "none.json")...)
	m.said("none of the 3 rows is active")
	write(t, "bad.json", `{"validators":[]}`)
	m.want(exitMalformed, m.trusting("import-tables", "--from", "bad.json")...)
	m.want(exitFailed, m.trusting("import-tables", "--from", "nowhere.json")...)
	m.enclave.Move = func(message.Tables) (message.Generated, error) {
		return message.Generated{}, &client.RefusedError{Code: 500, Reason: "row 1: KMS Decrypt: AccessDeniedException"}
	}
	m.want(exitFailed, m.trusting("import-tables", "--from", "tables.json")...)
	m.said("verify policy generate --tables", "no encryption context")
	m.nothingWritten()
}
