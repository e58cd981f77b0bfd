package vmring_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	control "holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/secret"
	"holdfast/internal/testenv"
	"holdfast/verify/envelope"
	"holdfast/verify/identity"
	"holdfast/verify/pcrs"
	holderrelease "holdfast/verify/release"
)

// What the holder brings that no run may show. What the programs make joins it.
const (
	plantedPassword   = "planted password of the keystores"
	plantedPassphrase = "planted passphrase of the identity"
	plantedToken      = "planted-token-0123456789abcdef0123456789abcdef"
)

// A life is what a holder and an operator do, here on one machine, from new keys to a signer that was stopped.
type life struct {
	*operation
	vault   *vault
	keys    []testKey
	holder  string // the holder's working folder
	planted map[string][]byte
	lent    map[string][]byte // credentials, which some programs have in their environment as they should
	seen    *watch
	run     *running
	client  *client
}

// One boot shows two things: that time works under the emulator as strict freshness needs it, and that nothing
// secret shows anywhere while it does.
func TestTheWholeLifeOfASignerShowsNoSecret(t *testing.T) {
	l := newLife(t)
	l.seen = watchProcesses(t)
	l.makeKeys(t)
	l.environ = l.lend("parent")
	l.flags = []string{"-bundle", filepath.Join(l.holder, "bundle.hf"), "-kms", l.vault.server.Address, "-credentials", "env"}
	l.run = l.start(t)
	l.client = newClient(t, l.run.url)
	l.await(t, "AccessDeniedException") // the policy is another's, so a release is needed
	l.release(t)
	floor := l.floor(t)
	t.Run("below the floor nothing is signed, and above it in its time", func(t *testing.T) { l.passesTheFloor(t, floor) })
	t.Run("the operator's statement lifts the floor", func(t *testing.T) { l.isVouchedFor(t, floor) })
	logs, err := control.Unix(l.socket()).Logs(t.Context(), 0)
	if err != nil || len(logs.Lines) == 0 {
		t.Fatalf("got %d lines of the enclave's log, %v", len(logs.Lines), err)
	}
	l.seen.stop()
	t.Run("nothing is left but the journal", func(t *testing.T) { l.leavesNothing(t) })
	t.Run("no secret shows", func(t *testing.T) { l.showsNothing(t, logs.Lines) })
}

func newLife(t *testing.T) *life {
	l := &life{
		operation: newOperation(t), vault: newVault(t), keys: []testKey{newKey(t), newKey(t)}, holder: t.TempDir(),
		planted: map[string][]byte{
			"password": []byte(plantedPassword), "passphrase": []byte(plantedPassphrase), "token": []byte(plantedToken),
		},
		lent: map[string][]byte{},
	}
	for i, key := range l.keys {
		scalar, err := hex.DecodeString(key.secret)
		if err != nil {
			t.Fatal(err)
		}
		l.planted[fmt.Sprint("validator ", i)] = scalar
	}
	return l
}

// lend gives out a role's credentials, and remembers them.
func (l *life) lend(role string) []string {
	variables, given := l.vault.environ(role)
	l.lent["secret access key of "+role] = []byte(given.SecretAccessKey)
	l.lent["session token of "+role] = []byte(given.SessionToken)
	return variables
}

// do runs one of the programs in the holder's folder, which must succeed.
func (l *life) do(t *testing.T, environ []string, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.holder, &out, &out
	cmd.Env = append(append(os.Environ(), "TMPDIR="+l.tmp), environ...)
	err := cmd.Run()
	fmt.Fprintf(l.out, "%s %q\n%s", name, args, &out)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &out)
	}
	return out.String()
}

// write writes a file of the holder's and returns its name.
func (l *life) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(l.holder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	genesisRoot   = "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"
	slotsPerEpoch = 2
)

// fastNetwork is the config.yaml of a network whose epochs last two seconds.
const fastNetwork = `PRESET_BASE: 'minimal'
CONFIG_NAME: "fast"
SLOTS_PER_EPOCH: 2
GENESIS_FORK_VERSION: 0x10000038
ALTAIR_FORK_VERSION: 0x20000038
ALTAIR_FORK_EPOCH: 0
BELLATRIX_FORK_VERSION: 0x30000038
BELLATRIX_FORK_EPOCH: 0
CAPELLA_FORK_VERSION: 0x40000038
CAPELLA_FORK_EPOCH: 0
DENEB_FORK_VERSION: 0x50000038
DENEB_FORK_EPOCH: 0
SECONDS_PER_SLOT: 1
`

// makeKeys is the holder's ceremony: a folder, keystores, a bundle.
func (l *life) makeKeys(t *testing.T) {
	t.Helper()
	passphrase := l.write(t, "passphrase", plantedPassphrase+"\n")
	genesis := time.Now().Add(-time.Hour).Unix()
	l.do(t, nil, "keys", "new", "--network", l.write(t, "config.yaml", fastNetwork), "--genesis-time", fmt.Sprint(genesis),
		"--genesis-validators-root", genesisRoot, "--tls-name", "127.0.0.1", "--any-client", "--kms-key", l.vault.arn,
		"--keymanager-token", l.write(t, "token", plantedToken+"\n"), "--passphrase-file", passphrase)
	l.nameTheEndpoint(t)
	for i, key := range l.keys {
		l.write(t, fmt.Sprintf("keystore-%d.json", i), keystore(t, key))
	}
	l.do(t, nil, "keys", "add", "keystore-0.json", "keystore-1.json",
		"--password-file", l.write(t, "password", plantedPassword+"\n"), "--passphrase-file", passphrase)
	environ := append(l.lend("holder"), "AWS_CA_BUNDLE="+l.write(t, "roots.pem", string(l.vault.server.Roots)))
	l.do(t, environ, "keys", "seal", "--endpoint-url", "https://"+l.vault.server.Address, "--passphrase-file", passphrase)
	l.do(t, nil, "keys", "show", "bundle.hf", "--keys")
	l.open(t)
}

// nameTheEndpoint has the configuration name the test's KMS, as a holder with an endpoint of their own does.
func (l *life) nameTheEndpoint(t *testing.T) {
	t.Helper()
	name := filepath.Join("holdfast", "configuration.json")
	var configuration map[string]json.RawMessage
	if err := json.Unmarshal(readFile(t, filepath.Join(l.holder, name)), &configuration); err != nil {
		t.Fatal(err)
	}
	configuration["kms"] = json.RawMessage(l.vault.settings(t))
	changed, err := json.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, name, string(changed))
}

// keystore makes an EIP-2335 keystore of a key, with few iterations.
func keystore(t *testing.T, key testKey) string {
	t.Helper()
	derived, err := pbkdf2.Key(sha256.New, plantedPassword, []byte("salt"), 2, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString(key.secret)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(sealed, sealed)
	sum := sha256.Sum256(append(bytes.Clone(derived[16:]), sealed...))
	return fmt.Sprintf(`{"crypto":{"kdf":{"function":"pbkdf2","params":{"dklen":32,"c":2,"prf":"hmac-sha256","salt":"%x"},"message":""},
		"checksum":{"function":"sha256","params":{},"message":"%x"},
		"cipher":{"function":"aes-128-ctr","params":{"iv":"%032d"},"message":"%x"}},
		"pubkey":"%s","path":"","uuid":"x","version":4}`, "salt", sum, 0, sealed, key.public.String()[2:])
}

// open opens the bundle as its holder can, for the secrets that the programs have made.
func (l *life) open(t *testing.T) {
	t.Helper()
	e, err := envelope.Parse(readFile(t, filepath.Join(l.holder, "bundle.hf")))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := identity.Load([]string{filepath.Join(l.holder, "holdfast", "identity.txt")}, func(string) ([]byte, error) { return []byte(plantedPassphrase), nil })
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := holderrelease.OpenDataKey(e, ids)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bundle.Open(e, secret.New(bytes.Clone(dataKey)))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(opened.Identity.Key.Reveal())
	operator, _ := pem.Decode(readFile(t, filepath.Join(l.holder, "holdfast", "operator.pem")))
	if block == nil || operator == nil {
		t.Fatal("a key is not PEM")
	}
	const seed = 32 // of the operator's key, which ends its PKCS #8 (RFC 8410)
	l.planted["data key"] = dataKey
	l.planted["slashing key"] = bytes.Clone(opened.SlashingKey.Reveal())
	l.planted["TLS key"] = block.Bytes
	l.planted["operator's key"] = operator.Bytes[len(operator.Bytes)-seed:]
}

// release is the holder's, with the image's measurements as the published ones.
func (l *life) release(t *testing.T) {
	t.Helper()
	file, err := (*pcrs.File)(nil).WithImage("v9.9.9", l.vault.image)
	if err != nil {
		t.Fatal(err)
	}
	l.do(t, []string{"HOLDFAST_PASSPHRASE_FILE=" + filepath.Join(l.holder, "passphrase")}, "verify", "release",
		"--unsafe-accept-emulated", "--pcrs", l.write(t, "PCRS.md", string(file.Bytes())), "--evidence", "evidence",
		"--identity", "holdfast/identity.txt", l.run.url, "bundle.hf")
	l.await(t, string(message.Serving))
}

// floor is that of this start.
func (l *life) floor(t *testing.T) message.Floor {
	t.Helper()
	status, err := control.Unix(l.socket()).Status(t.Context())
	if err != nil || status.Slashing == nil || status.Slashing.Floor == nil {
		t.Fatalf("got status %+v, %v, want a floor", status, err)
	}
	return *status.Slashing.Floor
}

// vote asks for an attestation on the fast network.
func (l *life) vote(t *testing.T, key testKey, target uint64) (int, string) {
	t.Helper()
	root := fmt.Sprintf("0x%064x", 1)
	status, text, err := l.client.call("POST", signPath(key), fmt.Sprintf(`{"type": "ATTESTATION",
		"fork_info": {"fork": {"previous_version": "0x40000038", "current_version": "0x50000038", "epoch": "0"}, "genesis_validators_root": "%s"},
		"attestation": {"slot": "%d", "index": "0", "beacon_block_root": "%s", "source": {"epoch": "%d", "root": "%s"}, "target": {"epoch": "%d", "root": "%s"}}}`,
		genesisRoot, slotsPerEpoch*target, root, target-1, root, target, root))
	if err != nil {
		t.Fatal(err)
	}
	return status, text
}

func (l *life) passesTheFloor(t *testing.T, floor message.Floor) {
	if status, text := l.vote(t, l.keys[0], floor.Epoch-10); status != 412 || !strings.Contains(text, "before a start") {
		t.Errorf("below the floor: got %d %s, want 412", status, text)
	}
	if status, text := l.vote(t, l.keys[0], floor.Epoch+5000); status != 412 || !strings.Contains(text, "beyond") {
		t.Errorf("of the far future: got %d %s, want 412", status, text)
	}
	for target, deadline := floor.Epoch+1, time.Now().Add(time.Minute); target < floor.Epoch+3; {
		status, text := l.vote(t, l.keys[0], target)
		switch {
		case status == 200:
			target++
		case status != 412 || time.Now().After(deadline):
			t.Fatalf("target %d above floor %d: got %d %s, want 200 once its time has come", target, floor.Epoch, status, text)
		default:
			time.Sleep(400 * time.Millisecond)
		}
	}
}

func (l *life) isVouchedFor(t *testing.T, floor message.Floor) {
	past := floor.Epoch - 100
	if status, text := l.vote(t, l.keys[1], past); status != 412 {
		t.Errorf("before the statement: got %d %s, want 412", status, text)
	}
	printed := l.do(t, nil, "parent", "slashing", "vouch", "-control", l.socket(), "-key", "holdfast/operator.pem")
	if !strings.Contains(printed, "the floor is lifted") {
		t.Errorf("vouch prints %s", printed)
	}
	if status, text := l.vote(t, l.keys[1], past); status != 200 {
		t.Errorf("after the statement: got %d %s, want 200", status, text)
	}
}

// leavesNothing stops the parent as an operator does.
func (l *life) leavesNothing(t *testing.T) {
	if code := l.run.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	nothingRuns(t)
	var left []string
	err := filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(l.dir, path); err == nil && !d.IsDir() && name != "console.txt" && filepath.Dir(name) != "journal" {
			left = append(left, name)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("files remain: %q, %v", left, err)
	}
}

// showsNothing looks for everything that was planted wherever somebody could look.
func (l *life) showsNothing(t *testing.T, logs []string) {
	all := map[string][]byte{}
	for _, secrets := range []map[string][]byte{l.planted, l.lent} {
		for name, s := range secrets {
			all[name] = s
		}
	}
	if key := l.keys[0].public.String(); !strings.Contains(l.out.String(), key) {
		t.Errorf("what the programs print does not even show the public key %s", key)
	}
	look(t, "what the programs print", []byte(l.out.String()), all)
	look(t, "the enclave's log", []byte(strings.Join(logs, "\n")), all)
	look(t, "the bundle", readFile(t, filepath.Join(l.holder, "bundle.hf")), all)
	// The console, the journal, and what temporary files there are; the evidence of the release.
	for _, root := range []string{l.dir, filepath.Join(l.holder, "evidence")} {
		files := 0
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files++
				look(t, filepath.Base(path), readFile(t, path), all)
			}
			return err
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", root, files, err)
		}
	}
	l.seen.look(t, l.planted, l.lent)
	for _, name := range []string{"parent", "keys", "verify", "qemu-system-x86"} {
		if !l.seen.names[name] {
			t.Errorf("no process %q was seen, of %v", name, l.seen.names)
		}
	}
}

// look fails if a text shows a secret.
func look(t *testing.T, where string, text []byte, secrets map[string][]byte) {
	t.Helper()
	for name, s := range secrets {
		if reveals(text, s) {
			t.Errorf("%s shows the %s", where, name)
		}
	}
}

// reveals reports whether a text has a secret as it is, in hexadecimal digits or in base64.
func reveals(text, s []byte) bool {
	standard := strings.TrimRight(base64.StdEncoding.EncodeToString(s), "=")
	url := strings.TrimRight(base64.URLEncoding.EncodeToString(s), "=")
	return bytes.Contains(text, s) || bytes.Contains(text, []byte(standard)) || bytes.Contains(text, []byte(url)) ||
		bytes.Contains(bytes.ToLower(text), []byte(hex.EncodeToString(s)))
}

func TestASecretIsFoundInEveryForm(t *testing.T) {
	s := []byte{0xfb, 0xff, 'p', 'l', 'a', 'n', 't', 'e', 'd'}
	for _, form := range []string{
		string(s), hex.EncodeToString(s), strings.ToUpper(hex.EncodeToString(s)),
		base64.StdEncoding.EncodeToString(s), base64.RawStdEncoding.EncodeToString(s), base64.URLEncoding.EncodeToString(s),
	} {
		if !reveals([]byte("key="+form+"\n"), s) {
			t.Errorf("%q is not found", form)
		}
	}
	if reveals([]byte("key=[redacted]"), s) {
		t.Error("found where it is not")
	}
}

// A watch keeps the arguments and the environment of every process below this one.
type watch struct {
	mu    sync.Mutex
	names map[string]bool
	args  map[string]bool   // /proc/PID/cmdline
	env   map[string]string // /proc/PID/environ, to the process's name
	stop  func()
}

func watchProcesses(t *testing.T) *watch {
	w := &watch{names: map[string]bool{}, args: map[string]bool{}, env: map[string]string{}}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			w.take()
			select {
			case <-end:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	w.stop = sync.OnceFunc(func() { close(end); <-ended })
	t.Cleanup(w.stop)
	return w
}

func (w *watch) take() {
	for _, p := range descendants() {
		folder := fmt.Sprintf("/proc/%d/", p.pid)
		args, _ := os.ReadFile(folder + "cmdline")
		environ, _ := os.ReadFile(folder + "environ")
		w.mu.Lock()
		w.names[p.name] = true
		w.args[string(args)] = true
		w.env[string(environ)] = p.name
		w.mu.Unlock()
	}
}

// look looks for secrets in all arguments, and in the environment of all processes; credentials are in that of
// the programs that were given them so, and nowhere else.
func (w *watch) look(t *testing.T, planted, lent map[string][]byte) {
	t.Helper()
	for args := range w.args {
		look(t, fmt.Sprintf("the command line %q", args), []byte(args), planted)
		look(t, fmt.Sprintf("the command line %q", args), []byte(args), lent)
	}
	for environ, name := range w.env {
		look(t, "the environment of "+name, []byte(environ), planted)
		if name != "parent" && name != "keys" {
			look(t, "the environment of "+name, []byte(environ), lent)
		}
	}
}
