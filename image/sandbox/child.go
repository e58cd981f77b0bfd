package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names of the steps towards the command. Check reads the system's mind from
// the one that failed.
const (
	stepClone  = "clone"
	stepOrder  = "order"
	stepRoot   = "root"
	stepMount  = "mount"
	stepProc   = "mount proc"
	stepLock   = "read-only mounts"
	stepName   = "names"
	stepLimits = "limits"
	stepStart  = "start"
)

const (
	// stage is where the new root is put together. The new proc file system
	// covers what the tmpfs hides, and no source of a bind lies there.
	stage = "/proc"

	// oldRoot is where the host's root stays until everything is bound.
	oldRoot = "/.host"

	hostname   = "build"
	domainname = "(none)" // the kernel's own default

	// maxFiles is the hard limit of open files that Linux gives by default,
	// so every host can be brought down to it.
	maxFiles = 4096

	stackSize = 8 << 20

	perLinux = 0 // PER_LINUX, personality(2)
)

// searchPath is where commands are looked up inside.
const searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the fixed environment with extra's variables added or
// put in place.
func environment(extra []string) []string {
	env := []string{
		"PATH=" + searchPath, "HOME=/tmp", "LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=0", "USER=build",
	}
	for _, e := range extra {
		name := e[:strings.IndexByte(e, '=')+1]
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, name) })
		env = append(env, e)
	}
	return env
}

// childMain is process 1 of the sandbox. It returns its exit status, which says
// nothing: the outcome is in the pipe.
func childMain() int {
	// Capabilities, no_new_privs and the personality belong to a thread, and
	// the command inherits those of the thread that starts it.
	runtime.LockOSThread()
	if err := unix.CloseRange(orderFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	report := os.NewFile(outcomeFD, "outcome")
	if err := writeOutcome(report, serve(os.NewFile(orderFD, "order"))); err != nil {
		return 1
	}
	return 0
}

func serve(orders *os.File) outcome {
	o, err := readOrder(orders)
	if err != nil {
		return failure(&setupError{step: stepOrder, detail: err.Error()})
	}
	if err := enter(o.Layout, o.Network); err != nil {
		return failure(err)
	}
	if err := restrict(); err != nil {
		return failure(failed(stepLimits, "", err))
	}
	if len(o.Args) == 0 {
		return outcome{}
	}
	pid, err := launch(o)
	if err != nil {
		return failure(failed(stepStart, o.Args[0], err))
	}
	return reap(pid)
}

// failed names the step and the thing that an error is about.
func failed(step, name string, err error) error {
	var errno syscall.Errno
	errors.As(err, &errno)
	detail := err.Error()
	if name != "" {
		detail = name + ": " + detail
	}
	return &setupError{step, detail, errno}
}

func failure(err error) outcome {
	var e *setupError
	if !errors.As(err, &e) {
		e = &setupError{step: stepOrder, detail: err.Error()}
	}
	return outcome{Step: e.step, Error: e.detail, Errno: int(e.errno)}
}

// enter builds the new root, moves into it and cuts the way back.
func enter(layout []step, hostNetwork bool) error {
	syscall.Umask(0)
	if err := pivot(); err != nil {
		return failed(stepRoot, "", err)
	}
	for _, s := range layout {
		if err := s.apply(); err != nil {
			return err
		}
	}
	if err := detach(); err != nil {
		return failed(stepRoot, "", err)
	}
	if err := setName(); err != nil {
		return failed(stepName, "", err)
	}
	if hostNetwork {
		return nil
	}
	if err := loopbackUp(); err != nil {
		return failed(stepName, "", fmt.Errorf("loopback: %w", err))
	}
	return nil
}

// pivot makes an empty tmpfs the root, with the host's root below it.
func pivot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := os.Mkdir(stage+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(stage, stage+oldRoot); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Chdir("/")
}

// detach removes the host's root and makes the new one read-only.
func detach() error {
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return err
	}
	return unix.MountSetattr(-1, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// apply carries out one step. Targets are resolved inside the new root.
func (s step) apply() error {
	switch s.Kind {
	case kindDirectory:
		return s.wrap(stepRoot, ignoreExists(os.Mkdir(s.Target, 0o755)))
	case kindFile:
		return s.wrap(stepRoot, s.makeFile())
	case kindSymlink:
		return s.wrap(stepRoot, os.Symlink(s.Source, s.Target))
	case kindTmpfs:
		return s.wrap(stepMount, unix.Mount("tmpfs", s.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"))
	case kindProc:
		// Read-only, because /proc/sys asks for the host's user alone: run by
		// root, a command could change the host's kernel settings there.
		const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
		return s.wrap(stepProc, unix.Mount("proc", s.Target, "proc", flags, ""))
	case kindBind:
		return s.bind()
	}
	return failed(stepOrder, s.Target, fmt.Errorf("unknown kind %q", s.Kind))
}

func (s step) wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return failed(name, s.Target, err)
}

func ignoreExists(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (s step) makeFile() error {
	f, err := os.OpenFile(s.Target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return ignoreExists(err)
	}
	return f.Close()
}

// bind is recursive, because a mount that came from the host's namespace must
// not be uncovered. mount_setattr (Linux 5.12) leaves alone the flags that the
// host has locked, where a remount would have to know and repeat them.
func (s step) bind() error {
	if err := unix.Mount(oldRoot+s.Source, s.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return failed(stepMount, s.Source+" at "+s.Target, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	if !s.Device {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if !s.Writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	err := unix.MountSetattr(-1, s.Target, unix.AT_RECURSIVE, &attr)
	return s.wrap(stepLock, err)
}

// setName fixes the host's name.
func setName() error {
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if err := unix.Setdomainname([]byte(domainname)); err != nil {
		return fmt.Errorf("domainname: %w", err)
	}
	return nil
}

// loopbackUp brings up the only interface of a network of its own.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// restrict fixes what the command inherits and takes away every capability.
func restrict() error {
	syscall.Umask(0o022)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, perLinux, 0, 0); errno != 0 {
		return fmt.Errorf("personality: %w", errno)
	}
	if err := limitResources(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	// The command has process 1's user, and must not trace it.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

func limitResources() error {
	// syscall's Setrlimit, unlike others, keeps Go from giving the command the
	// limit that process 1 began with.
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: maxFiles, Max: maxFiles}); err != nil {
		return fmt.Errorf("open files: want a hard limit of at least %d (see ulimit -Hn): %w", maxFiles, err)
	}
	if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("core size: %w", err)
	}
	var stack syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return fmt.Errorf("stack size: %w", err)
	}
	stack.Cur = min(stackSize, stack.Max)
	if err := syscall.Setrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return fmt.Errorf("stack size: %w", err)
	}
	return nil
}

func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL && c > unix.CAP_SETPCAP {
			break // past the last capability that this kernel has
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	var none [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
}

// launch starts the command with the standard files alone.
func launch(o order) (int, error) {
	file, err := lookUp(o.Args[0])
	if err != nil {
		return 0, err
	}
	if err := unix.Chdir(o.Dir); err != nil {
		return 0, fmt.Errorf("working directory %s: %w", o.Dir, err)
	}
	return syscall.ForkExec(file, o.Args, &syscall.ProcAttr{
		Env:   o.Env,
		Files: []uintptr{0, 1, 2},
	})
}

// lookUp finds a command in the fixed path. Names with a slash stand for
// themselves.
func lookUp(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range strings.Split(searchPath, ":") {
		file := path.Join(dir, name)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("not found in %s: %w", searchPath, syscall.ENOENT)
}

// reap waits for every process that ends, adopted ones too, until it is the
// command. What still runs then dies with process 1.
func reap(command int) outcome {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return failure(failed(stepStart, "wait", err))
		case pid != command:
		case status.Signaled():
			return outcome{Signal: int(status.Signal())}
		default:
			return outcome{Code: status.ExitStatus()}
		}
	}
}
