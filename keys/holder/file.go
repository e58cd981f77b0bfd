package holder

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// temporaryPrefix begins the names of files that are not finished. What an
// interruption leaves of them is removed when the folder is next opened.
const temporaryPrefix = ".holdfast-tmp-"

// read reads a file of the folder of at most limit bytes.
func (f *Folder) read(name string, limit int64) ([]byte, error) { return ReadFile(f.path(name), limit) }

func (f *Folder) write(name string, data []byte, mode fs.FileMode) error {
	return WriteFile(f.path(name), data, mode)
}

// sweep removes what interruptions left. That it may fail does no harm.
func (f *Folder) sweep() {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			os.RemoveAll(f.path(e.Name()))
		}
	}
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		clear(data)
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrMalformed, limit)
	}
	return data, err
}

// WriteFile replaces a file whole and durably, or leaves it as it was.
func WriteFile(name string, data []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), temporaryPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return syncDir(filepath.Dir(name))
}

// CreateFile is WriteFile for a file that must not exist, such as a secret that
// would otherwise be lost.
func CreateFile(name string, data []byte, mode fs.FileMode) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists, and is not overwritten", name)
	}
	return WriteFile(name, data, mode)
}

// syncDir makes the names in a folder durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// CreateFolder makes a folder of files, those of private readable by the owner
// alone. It appears whole or not at all, and never in another's place.
func CreateFolder(dir string, public, private map[string][]byte) error {
	return createDir(dir, func(temporary string) error {
		for name, data := range public {
			if err := WriteFile(filepath.Join(temporary, name), data, 0o644); err != nil {
				return err
			}
		}
		for name, data := range private {
			if err := WriteFile(filepath.Join(temporary, name), data, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

// createDir has a folder filled under another name, and then takes it to its own.
func createDir(dir string, fill func(temporary string) error) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s exists", dir)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(parent, temporaryPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary) // which Rename leaves nothing of
	if err := fill(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, dir); err != nil {
		return err
	}
	return syncDir(parent)
}
