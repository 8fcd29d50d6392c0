"""The single-user server's configuration, read inside its sandbox. Courtesy only: the gate outside decides.

``python -P -m jupyterhub.singleuser --config=…/enclave/server/config/server_config.py``
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from enclave.server.kernelspecs import JUPYTER_DATA

HERE = Path(__file__).parent
SOCKET = unquote(urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).netloc)  # http+unix://%2Frun%2Fenclave%2Fserver.sock

os.environ["JUPYTER_CONFIG_PATH"] = str(HERE)  # labconfig/page_config.json: what JupyterLab leaves out
os.environ["JUPYTER_PATH"] = str(JUPYTER_DATA)

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets puts it here

# ── where it listens and what it shows ──
c.ServerApp.sock = SOCKET
c.ServerApp.sock_mode = "0666"  # the folder around it is the gate's and the server's alone
c.ServerApp.root_dir = str(Path("~/code").expanduser())
c.ServerApp.open_browser = False
c.ServerApp.allow_remote_access = True  # the gate sends the public host name
c.ServerApp.trust_xheaders = True
c.ServerApp.max_body_size = 8 * 1024 * 1024
c.ServerApp.max_buffer_size = 16 * 1024 * 1024
c.ServerApp.log_level = "WARN"

# ── server extensions: JupyterLab's, nothing else (ours runs in the browser only) ──
c.ServerApp.jpserver_extensions = {
    "jupyterlab": True,
    "jupyter_lsp": False,
    "jupyter_server_terminals": False,
    "notebook_shim": False,
}
c.ServerApp.terminals_enabled = False
c.LabApp.extension_manager = "readonly"
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.lock_all_plugins = True
c.LabApp.workspaces_dir = str(Path("~/.jupyter/lab/workspaces").expanduser())
c.LabApp.user_settings_dir = str(Path("~/.jupyter/lab/user-settings").expanduser())

# ── kernels: one spec, started outside by the launcher ──
c.ServerApp.kernel_spec_manager_class = "enclave.server.kernelspecs.EnclaveKernelSpecManager"
c.ServerApp.kernel_manager_class = "enclave.server.kernels.EnclaveKernelManager"
c.ServerApp.session_manager_class = "enclave.server.sessions.EnclaveSessionManager"
c.MultiKernelManager.default_kernel_name = "enclave-python"
c.MappingKernelManager.cull_idle_timeout = 0  # the launcher culls
c.MappingKernelManager.buffer_offline_messages = True
c.KernelManager.autorestart = True

# ── files ──
c.FileContentsManager.delete_to_trash = False
c.ContentsManager.allow_hidden = False
