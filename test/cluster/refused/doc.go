// Package refused has mistakes in StorageClasses: kubectl describe says which field is wrong, what it has, and what is allowed.
package refused
