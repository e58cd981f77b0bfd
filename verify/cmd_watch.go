package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/release"
	"holdfast/verify/report"
	"holdfast/verify/watch"
)

// A supply is a release, and with --watch the keeping of it.
type supply struct {
	*visit
	watch  bool
	config watch.Config
	until  time.Duration

	identities stringList
	sealed     sealedKey
	bundle     string // the file of sealed

	terminal *terminal
}

// A stringList is a flag that may be repeated.
type stringList []string

// String implements [flag.Value].
func (l *stringList) String() string { return strings.Join(*l, " ") }

// Set implements [flag.Value].
func (l *stringList) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func newSupply() *supply {
	s := &supply{visit: newVisit("release")}
	s.set.BoolVar(&s.watch, "watch", false, "")
	s.set.DurationVar(&s.config.Interval, "interval", watch.DefaultInterval, "")
	s.set.DurationVar(&s.config.Deadline, "deadline", watch.DefaultDeadline, "")
	s.set.DurationVar(&s.config.Silence, "silence", watch.DefaultSilence, "")
	s.set.DurationVar(&s.until, "until", 0, "")
	s.set.Var(&s.identities, "identity", "")
	s.set.BoolVar(&s.config.AllowCopies, "allow-copies", false, "")
	return s
}

// parse reads the command line of either form.
func (s *supply) parse(t *terminal, args []string) error {
	if err := s.visit.parse(t, releaseHelp, args, "URL...", "BUNDLE"); err != nil {
		return err
	}
	if !s.watch {
		if s.set.NArg() != 2 {
			return usageError("got %d arguments, want URL BUNDLE; --watch takes several addresses", s.set.NArg())
		}
		for _, name := range []string{"interval", "deadline", "silence", "until", "allow-copies"} {
			if s.given(name) {
				return usageError("--%s goes with --watch", name)
			}
		}
		return nil
	}
	switch {
	case s.evidenceDir == "":
		return errorWithHint(exitUsage, errors.New("--watch needs --evidence"), "the folder is what a restarted watch knows its releases by")
	case s.htmlFile != "":
		return usageError("--html does not go with --watch: verify evidence --html makes a page of each release")
	case s.nonce != "":
		return usageError("--nonce does not go with --watch: each check has its own")
	}
	return s.addresses()
}

// addresses brings the URLs to one form.
func (s *supply) addresses() error {
	for _, url := range s.set.Args()[:s.set.NArg()-1] {
		c, err := channel.Open(url)
		if err != nil {
			return errorWithHint(exitUsage, err)
		}
		s.config.URLs = append(s.config.URLs, c.URL())
	}
	return nil
}

// open reads the bundle that is to be released.
func (s *supply) open(file string) (err error) {
	s.bundle = file
	s.sealed, err = openBundle(file, s.identities)
	if err == nil {
		s.configuration = s.sealed.configuration()
	}
	return err
}

// run watches until ctx ends or something fails.
func (s *supply) run(ctx context.Context, t *terminal) error {
	s.terminal = t
	unlock, err := openReleases(s.evidenceDir)
	if err != nil {
		return err
	}
	defer unlock()
	ledger, err := readReleases(s.evidenceDir, s.sealed.envelope.Digest())
	if err != nil {
		return err
	}
	w, err := watch.New(s.config, s, ledger, s.print)
	if err != nil {
		return usageError("%w", err)
	}
	if s.config.AllowCopies {
		fmt.Fprintln(t.stderr, "verify: WARNING: --allow-copies: instances that do not share a slashing store can be made to sign against each other")
	}
	if s.until > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.until)
		defer cancel()
	}
	return watchError(w.Run(ctx))
}

// print writes one event.
func (s *supply) print(e watch.Event) {
	if s.json {
		_ = json.NewEncoder(s.terminal.stdout).Encode(e)
		return
	}
	line := fmt.Sprintf("%s  %-8s", outcome.FormatTime(e.Time), e.Kind)
	for _, part := range []string{e.URL, e.Instance, e.Text} {
		if part != "" {
			line += "  " + part
		}
	}
	fmt.Fprintln(s.terminal.stdout, line)
}

// watchError gives the end of a watch its exit status.
func watchError(err error) error {
	var e *exitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return &exitError{e.status, fmt.Errorf("the watch gave up: %w", err), e.hints}
	}
	status, hint := exitFailed, ""
	switch {
	case errors.Is(err, watch.ErrCopies):
		status, hint = int(report.Policy), "stop one of them now; both sign with the same keys"
	case errors.Is(err, watch.ErrHasKeys):
		hint = "this watch did not release them: ask yourself who did, then restart the enclave"
	case errors.Is(err, watch.ErrSilent):
		hint = "is the parent instance up? --deadline says how long a restart may take"
	}
	out := &exitError{status: status, err: fmt.Errorf("the watch gave up: %w", err)}
	if hint != "" {
		out.hints = []string{hint}
	}
	return out
}

// Check implements [watch.Gate].
func (s *supply) Check(ctx context.Context, url string) (watch.Enclave, error) {
	v := s.another()
	err := v.look(ctx, url)
	var e *exitError
	switch {
	case err == nil:
	case errors.As(err, &e): // malformed, or measurements that cannot be read
		return nil, err
	case v.channel == nil: // no address was asked yet
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %w", watch.ErrNoAnswer, err)
	}
	if v.waitsForBundle() {
		v.channel.Close()
		return nil, fmt.Errorf("%w: the enclave has not been given a bundle", watch.ErrNoAnswer)
	}
	if status := v.result.ExitStatus(); status != 0 {
		defer v.channel.Close()
		dir := s.path(v, "refused")
		if err := v.store(dir); err != nil {
			fmt.Fprintf(s.terminal.stderr, "verify: the evidence of the failed check could not be written: %v\n", err)
		}
		return nil, errorWithHint(status, fmt.Errorf("check failed: %s", outcome.List(v.result.Blocking())), append(v.outcome().Hints(), "the evidence is in "+dir)...)
	}
	return &supplied{visit: v, supply: s}, nil
}

// another returns a visit with the same flags that has read and seen nothing:
// PCRS.md is read again, so that a revocation counts at once.
func (s *supply) another() *visit {
	flags := *s.verification
	flags.Measurements, flags.Signature = nil, nil
	return &visit{verification: &flags, certificateFile: s.certificateFile, configuration: s.configuration}
}

// waitsForBundle reports whether nothing is wrong with an enclave but that the parent
// has not given it a bundle yet, as just after a start.
func (v *visit) waitsForBundle() bool {
	blocking := v.result.Blocking()
	for _, c := range blocking {
		if c.Rule() != report.E11 && c.Rule() != report.E12 {
			return false
		}
	}
	return len(blocking) > 0 && v.result.Report.Check(report.E11).Got == judgement.NoBundle
}

// path names a new folder below the evidence.
func (s *supply) path(v *visit, what string) string {
	return filepath.Join(s.evidenceDir, v.seen.Time.UTC().Format("20060102T150405.000Z")+"-"+what)
}

// A supplied enclave passed a full check.
type supplied struct {
	*visit
	supply *supply
}

// Instance implements [watch.Enclave].
func (e *supplied) Instance() watch.Instance {
	return watch.NewInstance(e.result.Document.ModuleID, e.result.Judgement.Binding)
}

// Close implements [watch.Enclave].
func (e *supplied) Close() { e.channel.Close() }

// Release implements [watch.Enclave]. The evidence is stored before the keys
// leave, the receipt after they arrived.
func (e *supplied) Release(ctx context.Context) error {
	now, err := readBundle(e.supply.bundle)
	if err != nil {
		return err
	}
	if now.Digest() != e.supply.sealed.envelope.Digest() {
		return fmt.Errorf("%s is not the bundle with which the watch began; start another watch for it", e.supply.bundle)
	}
	dir := e.supply.path(e.visit, e.Instance().String())
	if err := e.store(dir); err != nil {
		return err
	}
	_, err = e.release(ctx, e.supply.terminal, e.supply.sealed, dir)
	switch {
	case errors.Is(err, release.ErrReleased):
		return fmt.Errorf("%w: %w", watch.ErrHasKeys, err)
	case errors.Is(err, release.ErrUncertain):
		return fmt.Errorf("%w: %w", watch.ErrUncertain, err)
	case err != nil:
		return err
	}
	return e.saveCertificate()
}

// openReleases makes the folder of a watch, and keeps a second watch out of it.
func openReleases(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return lock(filepath.Join(dir, ".lock"))
}

// readReleases reads what earlier watches released, from the names of the
// folders in order of time. A folder without a receipt is a release that may
// have arrived or not, and so is one of another bundle: the instance that has an
// older version is the one to get a newer.
func readReleases(dir string, bundle pcrs.Digest) (*watch.Ledger, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var before []watch.Supplied
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || strings.HasSuffix(entry.Name(), "-refused") {
			continue
		}
		s, err := readRelease(filepath.Join(dir, entry.Name()), bundle)
		if err != nil {
			return nil, errorWithHint(exitFailed, fmt.Errorf("%s: %w", entry.Name(), err), "a watch wants a folder of its own, with nothing else in it")
		}
		before = merge(before, s)
	}
	return watch.Resume(before...), nil
}

// merge adds a release, which may be a second attempt.
func merge(list []watch.Supplied, s watch.Supplied) []watch.Supplied {
	for i := range list {
		if list[i].Instance == s.Instance {
			list[i].Confirmed = list[i].Confirmed || s.Confirmed
			return list
		}
	}
	return append(list, s)
}

func readRelease(dir string, bundle pcrs.Digest) (watch.Supplied, error) {
	folder, err := evidence.Read(dir)
	if err != nil {
		return watch.Supplied{}, err
	}
	moduleID, err := folder.ModuleID()
	if err != nil {
		return watch.Supplied{}, err
	}
	b, err := binding.Parse(folder.Binding)
	if err != nil {
		return watch.Supplied{}, err
	}
	return watch.Supplied{
		Instance:  watch.NewInstance(moduleID, b),
		URL:       folder.URL,
		Confirmed: folder.Receipt != nil && folder.Receipt.Bundle.Digest == bundle,
	}, nil
}

var (
	_ watch.Gate    = (*supply)(nil)
	_ watch.Enclave = (*supplied)(nil)
)
