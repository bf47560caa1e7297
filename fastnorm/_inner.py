
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NativeLowering, NoPythonBackend

class InnerLibrary(JITCodeLibrary):
    """Code that others link in and optimise."""
    def _optimize_final_module(self): pass
    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout
    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True

@register_pass(mutates_CFG=True, analysis_only=False)
class InnerLowering(NativeLowering):
    _name = "inner_lowering"
    def run_pass(self, state):
        state.library = InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        cr = state["cr"] = state["cr"]._replace(cfunc=[].append)
        state.targetctx.insert_user_function(cr.cfunc, cr.fndesc, [state.library])
        return True

class InnerCompiler(CompilerBase):
    def define_pipelines(self):
        pm = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pm.passes = [(InnerLowering if p is NativeLowering else p, d) for p, d in pm.passes]
        pm._finalized = False
        pm.finalize()
        return [pm]
