package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"holdfast/image/sandbox"
)

func TestTheSurroundingsAreFixed(t *testing.T) {
	t.Setenv("LANG", "et_EE.UTF-8")
	t.Setenv("CAPTURE_ENVIRONMENT", "1")
	f := parseFacts(t, output(t, spec(t, "report")))

	wantEnv := []string{
		"HOME=/tmp", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/",
		"SOURCE_DATE_EPOCH=0", "TZ=UTC", "USER=build",
	}
	slices.Sort(f.Env)
	expect(t, "environment", f.Env, wantEnv)
	expect(t, "arguments", f.Args, []string{"inmate", "report"})
	expect(t, "directory", f.Dir, "/")
	expect(t, "hostname", f.Hostname, "build")
	expect(t, "domainname", f.Domainname, "(none)")
	expect(t, "user", f.UID, 1000)
	expect(t, "group", f.GID, 1000)
	expect(t, "umask", f.Umask, 0o022)
	expect(t, "entries of /", f.Root, []string{"bin", "dev", "lib", "proc", "tmp", "usr", "var"})
	expect(t, "cgroup", strings.HasSuffix(f.Cgroup, ":/"), true)
}

func TestOnlyALoopbackInterfaceExistsAndItIsUp(t *testing.T) {
	f := parseFacts(t, output(t, spec(t, "report")))
	if up, ok := f.Interfaces["lo"]; len(f.Interfaces) != 1 || !ok || !up {
		t.Errorf("got interfaces %v, want lo alone, up", f.Interfaces)
	}
}

func TestTheHostsNetworkIsLentToThoseWhoAskForIt(t *testing.T) {
	host, err := net.Interfaces()
	must(t, err)
	s := spec(t, "report")
	s.Network = true
	f := parseFacts(t, output(t, s))
	for _, i := range host {
		if _, ok := f.Interfaces[i.Name]; !ok {
			t.Errorf("got interfaces %v, want %s of the host too", f.Interfaces, i.Name)
		}
	}
	expect(t, "capabilities", f.Status["CapEff"], "0000000000000000")
	if hosts, err := os.ReadFile("/etc/hosts"); err == nil {
		s.Args = []string{"inmate", "read", "/etc/hosts"}
		expect(t, "/etc/hosts", output(t, s), string(hosts))
	}
}

func TestOnlyTheSandboxsOwnProcessesAreVisible(t *testing.T) {
	f := parseFacts(t, output(t, spec(t, "report")))
	if len(f.Processes) != 2 || f.Processes[0] != "/proc/1" || f.Status["PPid"] != "1" {
		t.Errorf("got processes %v with parent %s, want process 1 and its child", f.Processes, f.Status["PPid"])
	}
}

func TestTheCommandHasNoPrivileges(t *testing.T) {
	f := parseFacts(t, output(t, spec(t, "report")))
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		expect(t, set, f.Status[set], "0000000000000000")
	}
	expect(t, "NoNewPrivs", f.Status["NoNewPrivs"], "1")
}

func TestResourceLimitsAreFixed(t *testing.T) {
	f := parseFacts(t, output(t, spec(t, "report")))
	for name, want := range map[string][]string{
		"Max open files":     {"4096", "4096"},
		"Max core file size": {"0", "0"},
		"Max stack size":     {"8388608"},
	} {
		_, rest, _ := strings.Cut(f.Limits, name)
		got := strings.Fields(rest)
		if len(got) < 2 || !slices.Equal(got[:len(want)], want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestWhatTheCallerInheritedDoesNotShow(t *testing.T) {
	var out bytes.Buffer
	cmd := helper(t, "odd-parent", minimalRoot(t))
	cmd.Stdout = &out
	cmd.Dir = "/"
	must(t, cmd.Run())
	odd := parseFacts(t, out.String())
	plain := parseFacts(t, output(t, spec(t, "report")))
	expect(t, "umask", odd.Umask, 0o022)
	expect(t, "personality", odd.Personality, 0)
	expect(t, "open descriptors", odd.Descriptors, plain.Descriptors)
}

func TestOnlyTheNamedDevicesExist(t *testing.T) {
	want := []string{
		"/dev", "/dev/fd /proc/self/fd", "/dev/full", "/dev/null", "/dev/random", "/dev/shm",
		"/dev/stderr /proc/self/fd/2", "/dev/stdin /proc/self/fd/0", "/dev/stdout /proc/self/fd/1",
		"/dev/urandom", "/dev/zero",
	}
	got := output(t, spec(t, "tree", "/dev"))
	expect(t, "/dev", strings.Split(strings.TrimSpace(got), "\n"), want)
}

func TestDevicesWork(t *testing.T) {
	for device, want := range map[string]string{"/dev/null": "", "/dev/full": "no space left on device"} {
		var stderr bytes.Buffer
		s := spec(t, "write", device, "x")
		s.Stderr = &stderr
		err := sandbox.Run(context.Background(), s)
		if (err == nil) != (want == "") || !strings.Contains(stderr.String(), want) {
			t.Errorf("write %s: got %v, %q, want %q", device, err, stderr.String(), want)
		}
	}
}

func TestFilesOfTheHostAreOutOfSight(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("x"), 0o644))
	for _, name := range []string{secret, "/.host", "/etc/passwd", "/proc/1/root" + secret, "/proc/1/environ"} {
		refuse(t, spec(t, "read", name))
	}
}

func TestTheRootIsReadOnly(t *testing.T) {
	for _, name := range []string{
		"/new", "/usr/new", "/usr/bin/inmate", "/usr/lib/note", "/bin/new", "/dev/new", "/var/new", "/proc/new",
		"/proc/sys/kernel/hostname",
	} {
		refuse(t, spec(t, "write", name, "x"))
	}
}

func TestAReadOnlyMountCannotBeMadeWritable(t *testing.T) {
	for _, name := range []string{"/", "/usr"} {
		refuse(t, spec(t, "remount", name))
	}
}

func TestProcessOneCannotBeTraced(t *testing.T) {
	refuse(t, spec(t, "trace-init"))
}

func TestTmpIsWritableAndForgotten(t *testing.T) {
	s := spec(t, "write", "/tmp/x", "x")
	s.Stdout = os.Stderr
	must(t, sandbox.Run(context.Background(), s))
	s.Args = []string{"inmate", "write", "/dev/shm/x", "x"}
	must(t, sandbox.Run(context.Background(), s))
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		s.Args = []string{"inmate", "tree", dir}
		expect(t, dir, output(t, s), dir+"\n")
	}
}

func TestVariablesCanBeAddedAndReplaced(t *testing.T) {
	s := spec(t, "report")
	s.Env = []string{"KCFLAGS=-O2", "SOURCE_DATE_EPOCH=86400", "KCFLAGS=-O1"}
	f := parseFacts(t, output(t, s))
	slices.Sort(f.Env)
	expect(t, "environment", f.Env, []string{
		"HOME=/tmp", "KCFLAGS=-O1", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/",
		"SOURCE_DATE_EPOCH=86400", "TZ=UTC", "USER=build",
	})
}

func TestOddSpecsAreRefused(t *testing.T) {
	root := minimalRoot(t)
	args := []string{"inmate", "exit", "0"}
	for name, c := range map[string]struct {
		spec sandbox.Spec
		want string
	}{
		"zero":              {sandbox.Spec{}, "no command"},
		"no root":           {sandbox.Spec{Args: args}, "root: no directory given"},
		"root absent":       {sandbox.Spec{Root: root + "/absent", Args: args}, "no such file"},
		"root is a file":    {sandbox.Spec{Root: inmate, Args: args}, "not a directory"},
		"relative dir":      {sandbox.Spec{Root: root, Args: args, Dir: "src"}, "absolute"},
		"absent dir":        {sandbox.Spec{Root: root, Args: args, Dir: "/src"}, "working directory /src: no such file"},
		"odd variable":      {sandbox.Spec{Root: root, Args: args, Env: []string{"=x"}}, "NAME=value"},
		"not UTF-8":         {sandbox.Spec{Root: root, Args: []string{"inmate", "\xff"}}, "UTF-8"},
		"zero byte":         {sandbox.Spec{Root: root, Args: []string{"inmate", "a\x00b"}}, "zero bytes"},
		"unknown command":   {sandbox.Spec{Root: root, Args: []string{"cc"}}, "start: cc: not found in /usr/sbin"},
		"not executable":    {sandbox.Spec{Root: root, Args: []string{"/usr/lib/note"}}, "permission denied"},
		"bind source":       {withBind(root, sandbox.Bind{Source: root + "/absent", Target: "/src"}), "bind source: lstat"},
		"bind source empty": {withBind(root, sandbox.Bind{Target: "/src"}), "no source"},
	} {
		t.Run(name, func(t *testing.T) {
			err := sandbox.Run(context.Background(), c.spec)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestWithoutInitNothingIsStarted(t *testing.T) {
	out, err := helper(t, "start-without-init", minimalRoot(t)).Output()
	must(t, err)
	if !strings.Contains(string(out), "Init was not called") {
		t.Errorf("got %q", out)
	}
}

func TestBindsAppearWhereTheyShould(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("from the host"), 0o644))
	must(t, os.Symlink(host, filepath.Join(t.TempDir(), "link")))
	for _, target := range []string{
		"/src", "/src/deep/below", "/usr/local/go", "/usr/share/doc/new", "/usr/lib", "/tmp/x", "/dev/x", "/var/lib/a/b",
	} {
		t.Run(target, func(t *testing.T) {
			s := spec(t, "read", target+"/file")
			s.Binds = []sandbox.Bind{{Source: host, Target: target}}
			expect(t, "file", output(t, s), "from the host")
			s.Args = []string{"inmate", "write", target + "/file", "x"}
			refuse(t, s)
		})
	}
}

func TestAnOpenedDirectoryKeepsItsEntries(t *testing.T) {
	s := spec(t, "tree", "/usr")
	s.Binds = []sandbox.Bind{{Source: t.TempDir(), Target: "/usr/local/go"}}
	want := "/usr\n/usr/bin\n/usr/bin/inmate\n/usr/lib\n/usr/lib/note\n/usr/local\n/usr/local/go\n/usr/share\n/usr/share/doc\n"
	expect(t, "tree", output(t, s), want)
	s.Args = []string{"inmate", "write", "/usr/local/x", "x"}
	refuse(t, s)
}

func TestAFileCanBeBound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("one file"), 0o644))
	for _, target := range []string{"/etc/resolv.conf", "/usr/lib/note", "/input"} {
		s := spec(t, "read", target)
		s.Binds = []sandbox.Bind{{Source: file, Target: target}}
		expect(t, target, output(t, s), "one file")
	}
}

func TestWhatIsWrittenToAWritableBindBelongsToTheCaller(t *testing.T) {
	out := t.TempDir()
	s := spec(t, "write", "/out/result", "built")
	s.Binds = []sandbox.Bind{{Source: out, Target: "/out", Writable: true}}
	must(t, sandbox.Run(context.Background(), s))
	b, err := os.ReadFile(filepath.Join(out, "result"))
	must(t, err)
	expect(t, "result", string(b), "built")
	fi, err := os.Stat(filepath.Join(out, "result"))
	must(t, err)
	expect(t, "owner", int(fi.Sys().(*syscall.Stat_t).Uid), os.Geteuid())
	expect(t, "mode", fi.Mode(), 0o644)
}

func TestABindMayLieInAnother(t *testing.T) {
	outer, inner := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(outer, "src"), 0o755))
	s := spec(t, "write", "/build/src/x", "x")
	s.Binds = []sandbox.Bind{
		{Source: inner, Target: "/build/src", Writable: true},
		{Source: outer, Target: "/build"},
	}
	must(t, sandbox.Run(context.Background(), s))
	if _, err := os.Stat(filepath.Join(inner, "x")); err != nil {
		t.Error(err)
	}
}

func TestOddBindTargetsAreRefused(t *testing.T) {
	root, host := minimalRoot(t), t.TempDir()
	for target, want := range map[string]string{
		"":                  "clean absolute path",
		"/":                 "clean absolute path",
		"src":               "clean absolute path",
		"/src/":             "clean absolute path",
		"/src/../etc":       "clean absolute path",
		"/proc/x":           "/proc is the sandbox's own",
		"/lib/x":            "/lib is a symbolic link in the root; name the real path",
		"/usr/bin/inmate/x": "/usr/bin/inmate is not a directory in the root",
	} {
		err := sandbox.Run(context.Background(), withBind(root, sandbox.Bind{Source: host, Target: target}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("target %q: got %v, want %q", target, err, want)
		}
	}
	twice := withBind(root, sandbox.Bind{Source: host, Target: "/a"}, sandbox.Bind{Source: host, Target: "/a"})
	if err := sandbox.Run(context.Background(), twice); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("got %v, want given twice", err)
	}
	below := withBind(root, sandbox.Bind{Source: host, Target: "/a"}, sandbox.Bind{Source: host, Target: "/a/absent"})
	if err := sandbox.Run(context.Background(), below); err == nil || !strings.Contains(err.Error(), "nothing is made on the host") {
		t.Errorf("got %v, want a refusal to make /a/absent", err)
	}
}

func TestWithHostTheHostsOwnDirectoriesStay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "from-inside")
	s := spec(t, "write", file, "x")
	s.Host = true
	s.Dir = dir
	must(t, sandbox.Run(context.Background(), s))
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	s.Args = []string{"inmate", "read", "/usr/lib/note"}
	expect(t, "/usr", output(t, s), "toolchain\n")
	for _, name := range []string{"/etc/passwd", "/sys/kernel", "/usr/bin/env"} {
		s.Args = []string{"inmate", "read", name}
		refuse(t, s)
	}
	s.Binds = []sandbox.Bind{{Source: dir, Target: dir + "-absent"}}
	if err := sandbox.Run(context.Background(), s); err == nil || !strings.Contains(err.Error(), "nothing is made on the host") {
		t.Errorf("got %v, want a refusal to make a directory on the host", err)
	}
}

func withBind(root string, binds ...sandbox.Bind) sandbox.Spec {
	return sandbox.Spec{Root: root, Binds: binds, Args: []string{"inmate", "exit", "0"}}
}

// refuse expects the inmate itself to fail with status 1: it ran, and was not let.
func refuse(t *testing.T, s sandbox.Spec) {
	t.Helper()
	s.Stderr = nil
	var exit *sandbox.ExitError
	if err := sandbox.Run(context.Background(), s); !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("%q: got %v, want exit status 1", s.Args, err)
	}
}

func expect[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
