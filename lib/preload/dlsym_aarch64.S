/* dlsym: asks ledger_dlsym first, and otherwise becomes the real one, caller and all. */
	.text
	.globl dlsym
	.type dlsym, %function
dlsym:
	.cfi_startproc
	stp x29, x30, [sp, #-32]!
	.cfi_def_cfa_offset 32
	.cfi_offset 29, -32
	.cfi_offset 30, -24
	stp x0, x1, [sp, #16]
	bl ledger_dlsym
	mov x9, x0
	ldp x0, x1, [sp, #16]
	ldp x29, x30, [sp], #32
	.cfi_def_cfa_offset 0
	.cfi_restore 29
	.cfi_restore 30
	cbnz x9, 1f
	adrp x9, dlsym_next
	ldr x9, [x9, #:lo12:dlsym_next]
	br x9
1:	mov x0, x9
	ret
	.cfi_endproc
	.size dlsym, .-dlsym
	.section .note.GNU-stack, "", %progbits
