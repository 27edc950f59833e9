/* dlsym: asks ledger_dlsym first, and otherwise becomes the real one, caller and all. */
	.text
	.globl dlsym
	.type dlsym, @function
dlsym:
	.cfi_startproc
	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	subq $8, %rsp
	.cfi_adjust_cfa_offset 8
	call ledger_dlsym
	addq $8, %rsp
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	testq %rax, %rax
	jnz 1f
	movq dlsym_next@GOTPCREL(%rip), %rax
	jmpq *(%rax)
1:	ret
	.cfi_endproc
	.size dlsym, .-dlsym
	.section .note.GNU-stack, "", @progbits
