// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"bytes"
	"unsafe"
)

// fileRoom is the first size of the buffer. Most files fit into it.
var fileRoom = 4096

// ReadFile returns the whole content of an interface file that has no method of its own, such as io.stat or
// memory.numa_stat. name is one path component. If the controller of the file is not in force, the error is ENOENT with
// the reason NoController.
func (g *Group) ReadFile(name string) ([]byte, error) {
	const op = "read file"
	c, err := cString(op, "the name", name)
	if err != nil {
		return nil, err
	}
	defer free(c)
	for buf := make([]byte, fileRoom); ; {
		n, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
			return C.agentcg_read_file(cg, c, (*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf)), e)
		})
		if err != nil {
			return nil, err
		}
		if n < len(buf) {
			return buf[:n:n], nil
		}
		buf = make([]byte, n+n/4+1) // the file may grow before the next read
	}
}

// WriteFile writes a value to an interface file with one write(2). Read the file back to see the effect.
func (g *Group) WriteFile(name string, value []byte) error {
	const op = "write file"
	c, err := cString(op, "the name", name)
	if err != nil {
		return err
	}
	defer free(c)
	if bytes.IndexByte(value, 0) >= 0 {
		return invalid(op, "the value has a NUL byte in it")
	}
	v := C.CString(string(value))
	defer free(v)
	_, err = g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_write_file(cg, c, v, e)
	})
	return err
}
