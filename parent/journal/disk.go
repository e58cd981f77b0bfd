package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is the part of a file system that a journal needs, in one directory. Tests
// put a failing one in its place.
type disk interface {
	List() ([]string, error)                // names of the regular files
	Open(name string) (readFile, error)     // for reading
	Create(name string) (appendFile, error) // a new file, for writing; there must be none
	Rename(from, to string) error           // replaces what is there
	Remove(name string) error
	Sync() error // makes creations, renames and removals durable
}

type readFile interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

type appendFile interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error // makes what was written, and the length, durable
}

// directory is a disk of the operating system's.
type directory struct{ path string }

func (d directory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

func (d directory) Open(name string) (readFile, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d directory) Create(name string) (appendFile, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d directory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d directory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d directory) Sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync is fdatasync(2): it leaves out the times of the file, and not its length.
func (f file) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

const lockName = "lock"

// lock takes the directory for this process, until the returned file is closed or
// the process ends.
func lock(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("journal directory %s: another server uses it", dir)
		}
		return nil, fmt.Errorf("locking journal directory %s: %w", dir, err)
	}
	return f, nil
}
