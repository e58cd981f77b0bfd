package sshsig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/verify/sshsig"
)

const namespace = "holdfast-pcrs"

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func signers(t testing.TB, text string) sshsig.Signers {
	t.Helper()
	s, err := sshsig.ParseSigners([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fields writes strings as SSH's wire format has them.
func fields(list ...string) string {
	var out []byte
	for _, s := range list {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	return string(out)
}

// A template is a signature before it is armored: what the tests change.
type template struct {
	magic, key, namespace, reserved, hash string
	version                               uint32
	sign                                  func(signed []byte) string
	tail                                  string
}

func (p template) armored(message string) []byte {
	sum256, sum512 := sha256.Sum256([]byte(message)), sha512.Sum512([]byte(message))
	digest := string(sum512[:])
	if p.hash == "sha256" {
		digest = string(sum256[:])
	}
	value := p.sign([]byte("SSHSIG" + fields(p.namespace, p.reserved, p.hash, digest)))
	blob := p.magic + string(binary.BigEndian.AppendUint32(nil, p.version)) + fields(p.key, p.namespace, p.reserved, p.hash, value) + p.tail
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: []byte(blob)})
}

// ed25519Template signs with a new key, and returns the key's line for an
// allowed-signers file.
func ed25519Template(t testing.TB) (template, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := fields("ssh-ed25519", string(public))
	return template{
		magic: "SSHSIG", version: 1, key: key, namespace: namespace, hash: "sha512",
		sign: func(signed []byte) string { return fields("ssh-ed25519", string(ed25519.Sign(private, signed))) },
	}, "ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte(key))
}

// securityTemplate signs as a security key does.
func securityTemplate(t testing.TB, flags byte) (template, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const kind, application = "sk-ssh-ed25519@openssh.com", "ssh:"
	key := fields(kind, string(public), application)
	return template{
		magic: "SSHSIG", version: 1, key: key, namespace: namespace, hash: "sha512",
		sign: func(signed []byte) string {
			app, digest := sha256.Sum256([]byte(application)), sha256.Sum256(signed)
			tail := []byte{flags, 0, 0, 0, 9}
			value := ed25519.Sign(private, append(append(app[:], tail...), digest[:]...))
			return fields(kind, string(value)) + string(tail)
		},
	}, kind + " " + base64.StdEncoding.EncodeToString([]byte(key))
}

func TestRecordedSignaturesVerify(t *testing.T) {
	allowed := signers(t, string(file(t, "signers")))
	for _, name := range []string{"ed25519", "ecdsa256", "ecdsa384", "ecdsa521"} {
		got, err := sshsig.Verify(file(t, "message"), file(t, name+".sig"), namespace, allowed, noon)
		if err != nil || got != name+"@example.org" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestRecordedSignaturesOfOtherKindsAreRefused(t *testing.T) {
	allowed := signers(t, string(file(t, "signers")))
	for name, want := range map[string]string{"rsa.sig": `key of type "ssh-rsa"`, "file.sig": `namespace "file"`} {
		if _, err := sshsig.Verify(file(t, "message"), file(t, name), namespace, allowed, noon); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

// keygen returns ssh-keygen, which not every machine has. The recorded
// signatures stand in for it where it is missing.
func keygen(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen: install OpenSSH's client to compare with it")
	}
	return path
}

func TestSSHKeygenAndWeAgree(t *testing.T) {
	program, dir := keygen(t), t.TempDir()
	run := func(stdin []byte, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
		return cmd.Output()
	}
	message := []byte("PCR0 of everything")
	for i, kind := range [][]string{{"ed25519"}, {"ecdsa", "-b", "256"}, {"ecdsa", "-b", "384"}, {"ecdsa", "-b", "521"}} {
		key := fmt.Sprintf("key%d", i)
		if _, err := run(nil, append([]string{"-q", "-N", "", "-f", key, "-t"}, kind...)...); err != nil {
			t.Fatal(err)
		}
		sig, err := run(message, "-Y", "sign", "-f", key, "-n", namespace)
		if err != nil {
			t.Fatal(err)
		}
		public, err := os.ReadFile(filepath.Join(dir, key+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		allowed := signers(t, `m@example.org namespaces="holdfast-*" `+string(public))
		if _, err := sshsig.Verify(message, sig, namespace, allowed, noon); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
		if _, err := sshsig.Verify(append(message, '.'), sig, namespace, allowed, noon); err == nil {
			t.Errorf("%v: another message verifies", kind)
		}
	}
	// And the other way round: ssh-keygen accepts what the tests write.
	p, line := ed25519Template(t)
	if err := os.WriteFile(filepath.Join(dir, "allowed"), []byte("m@example.org "+line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sig"), p.armored(string(message)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(message, "-Y", "verify", "-f", "allowed", "-I", "m@example.org", "-n", namespace, "-s", "sig"); err != nil {
		t.Errorf("ssh-keygen refuses our signature: %v", err)
	}
}

func TestBothHashAlgorithmsVerify(t *testing.T) {
	for _, hash := range []string{"sha256", "sha512"} {
		p, line := ed25519Template(t)
		p.hash = hash
		if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, signers(t, "a "+line), noon); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
}

func TestASecurityKeyMustHaveBeenTouched(t *testing.T) {
	p, line := securityTemplate(t, 1)
	if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, signers(t, "a "+line), noon); err != nil {
		t.Error(err)
	}
	p, line = securityTemplate(t, 0)
	if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, signers(t, "a "+line), noon); err == nil || !strings.Contains(err.Error(), "touched") {
		t.Errorf("got %v", err)
	}
}

func TestSignaturesOfAnotherFormAreRefused(t *testing.T) {
	other, _ := ed25519Template(t)
	for name, test := range map[string]struct {
		change func(*template)
		want   string
	}{
		"another magic":              {func(p *template) { p.magic = "SSHSIX" }, "magic"},
		"another version":            {func(p *template) { p.version = 2 }, "version 2"},
		"another namespace":          {func(p *template) { p.namespace = "git" }, `namespace "git"`},
		"another hash":               {func(p *template) { p.hash = "md5" }, `"md5"`},
		"trailing bytes":             {func(p *template) { p.tail = "x" }, "more bytes"},
		"a key of nothing":           {func(p *template) { p.key = "" }, `type ""`},
		"a short key":                {func(p *template) { p.key = fields("ssh-ed25519", "short") }, "want 32"},
		"a long key":                 {func(p *template) { p.key += "x" }, "more bytes"},
		"a curve under another name": {func(p *template) { p.key = fields("ecdsa-sha2-nistp256", "nistp384", "") }, "nistp384"},
		"a point off the curve": {func(p *template) {
			p.key = fields("ecdsa-sha2-nistp256", "nistp256", "\x04"+strings.Repeat("\x01", 64))
		}, "SSH signature"},
		"another's signature": {func(p *template) { p.sign = other.sign }, "not by the key"},
		"another type":        {func(p *template) { p.sign = func([]byte) string { return fields("ssh-rsa", "") } }, `"ssh-rsa"`},
		"no signature":        {func(p *template) { p.sign = func([]byte) string { return "" } }, `type ""`},
		"a cut signature":     {func(p *template) { p.sign = func([]byte) string { return fields("ssh-ed25519", "short") } }, "not by the key"},
		"a long signature": {func(p *template) {
			sign := p.sign
			p.sign = func(signed []byte) string { return sign(signed) + "x" }
		}, "not by the key"},
	} {
		p, line := ed25519Template(t)
		test.change(&p)
		_, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, signers(t, "a "+line), noon)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestArmorOfAnotherFormIsRefused(t *testing.T) {
	p, line := ed25519Template(t)
	good := string(p.armored("m"))
	allowed := signers(t, "a "+line)
	for name, armored := range map[string]string{
		"nothing":         "",
		"no armor":        "SSHSIG",
		"another armor":   strings.ReplaceAll(good, "SSH SIGNATURE", "SIGNATURE"),
		"a header":        strings.Replace(good, "\n", "\nComment: x\n\n", 1),
		"two signatures":  good + good,
		"text afterwards": good + "x",
		"too much":        good + strings.Repeat("\n", sshsig.MaxSize),
	} {
		if _, err := sshsig.Verify([]byte("m"), []byte(armored), namespace, allowed, noon); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEveryByteOfASignatureCounts(t *testing.T) {
	p, line := ed25519Template(t)
	allowed := signers(t, "a "+line)
	block, _ := pem.Decode(p.armored("m"))
	for i := range block.Bytes {
		changed := bytes.Clone(block.Bytes)
		changed[i] ^= 1 << (i % 8)
		armored := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: changed})
		if _, err := sshsig.Verify([]byte("m"), armored, namespace, allowed, noon); err == nil {
			t.Fatalf("byte %d does not count", i)
		}
	}
}

func TestOnlyAllowedSignersCount(t *testing.T) {
	p, line := ed25519Template(t)
	_, stranger := ed25519Template(t)
	for name, test := range map[string]struct{ file, want string }{
		"alone":                     {"a@x " + line, ""},
		"with a comment":            {"# us\n\na@x " + line + " laptop\n", ""},
		"among others":              {"b@x " + stranger + "\na@x " + line, ""},
		"in its namespace":          {`a@x namespaces="git,holdfast-pcrs" ` + line, ""},
		"in a pattern":              {`a@x namespaces="hold?ast-*" ` + line, ""},
		"in its time":               {`a@x valid-after="20260101Z",valid-before="202701010000Z" ` + line, ""},
		"on the second line of two": {`a@x valid-before="20250101Z" ` + line + "\na@x " + line, ""},
		"not listed":                {"b@x " + stranger, "not in the file"},
		"in another namespace":      {`a@x namespaces="git" ` + line, "other namespaces"},
		"but for this namespace":    {`a@x namespaces="*,!holdfast-pcrs" ` + line, "other namespaces"},
		"no longer":                 {`a@x valid-before="20261121115959Z" ` + line, "at this time"},
		"not yet":                   {`a@x VALID-AFTER="20261121120001Z" ` + line, "at this time"},
		"as an authority":           {"a@x cert-authority " + line, "authority"},
	} {
		got, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, signers(t, test.file), noon)
		switch {
		case test.want == "" && (err != nil || got != "a@x"):
			t.Errorf("%s: got %q, %v", name, got, err)
		case test.want != "" && (err == nil || got != "" || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
	if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, nil, noon); err == nil {
		t.Error("nobody was asked for, and somebody accepted")
	}
}

func TestASignersFileThatCannotBeReadIsAnError(t *testing.T) {
	_, line := ed25519Template(t)
	key := strings.Fields(line)[1]
	for name, text := range map[string]string{
		"nothing":               "",
		"comments alone":        "# nobody\n",
		"no key":                "a@x ssh-ed25519",
		"no principals":         line,
		"an unknown option":     "a@x frobnicate " + line,
		"no namespaces":         `a@x namespaces="" ` + line,
		"a time of words":       `a@x valid-after="yesterday" ` + line,
		"a time of nonsense":    `a@x valid-after="20269921" ` + line,
		"an open quote":         `a@x namespaces="git ` + line,
		"a key of another type": "a@x sk-ssh-ed25519@openssh.com " + key,
		"a key in bad base64":   "a@x ssh-ed25519 " + key[:len(key)-1],
		"a short key":           "a@x ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte(fields("ssh-ed25519", "x"))),
		"one bad line":          "a@x " + line + "\nb@x\n",
		"too much":              strings.Repeat("#", sshsig.MaxSignersSize+1),
	} {
		if got, err := sshsig.ParseSigners([]byte(text)); err == nil || got != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestECDSASignaturesAreNotTakenForAnotherCurves(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const kind = "ecdsa-sha2-nistp256"
	key := fields(kind, "nistp256", string(point))
	sign := func(kind string) func([]byte) string {
		return func(signed []byte) string {
			digest := sha256.Sum256(signed)
			r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			mpint := func(b []byte) string {
				if b[0]&0x80 != 0 {
					b = append([]byte{0}, b...)
				}
				return string(b)
			}
			return fields(kind, fields(mpint(r.Bytes()), mpint(s.Bytes())))
		}
	}
	p := template{magic: "SSHSIG", version: 1, key: key, namespace: namespace, hash: "sha512", sign: sign(kind)}
	allowed := signers(t, "a "+kind+" "+base64.StdEncoding.EncodeToString([]byte(key)))
	if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, allowed, noon); err != nil {
		t.Fatal(err)
	}
	p.sign = sign("ecdsa-sha2-nistp384")
	if _, err := sshsig.Verify([]byte("m"), p.armored("m"), namespace, allowed, noon); err == nil {
		t.Error("accepted")
	}
}

func FuzzVerify(f *testing.F) {
	allowed := signers(f, string(file(f, "signers")))
	for _, name := range []string{"ed25519.sig", "ecdsa521.sig", "rsa.sig"} {
		block, _ := pem.Decode(file(f, name))
		f.Add(block.Bytes)
	}
	message := file(f, "message")
	f.Fuzz(func(t *testing.T, blob []byte) {
		armored := pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob})
		got, err := sshsig.Verify(message, armored, namespace, allowed, noon)
		if (err == nil) != (got != "") {
			t.Errorf("got %q with %v", got, err)
		}
		if err == nil {
			if _, err := sshsig.Verify(append(message, '.'), armored, namespace, allowed, noon); err == nil {
				t.Error("the message does not count")
			}
		}
	})
}

func FuzzParseSigners(f *testing.F) {
	f.Add(string(file(f, "signers")))
	f.Add(`a,b namespaces="x,y",valid-after="20260101Z" ssh-ed25519 AAAA`)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := sshsig.ParseSigners([]byte(text)); (err == nil) != (len(got) > 0) {
			t.Errorf("got %d signers with %v", len(got), err)
		}
	})
}
