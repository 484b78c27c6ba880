// Package access has the access modes: what several pods and nodes may do with one volume at the same time, and what not.
package access
