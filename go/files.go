// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"bytes"
	"unsafe"
)

// fileRoom is what most files fit into.
var fileRoom = 4096

// ReadFile is the whole of an interface file, for what has no method here: io.stat, memory.numa_stat. name is one
// component. A file whose controller is not in force is ENOENT with the reason NoController.
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
		buf = make([]byte, n+n/4+1) // it may have grown by the next reading
	}
}

// WriteFile writes a value to an interface file, in one write(2). What the kernel makes of it is for it to say;
// reading the file back tells.
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
