/* What a person sees of the rules while working. Display only: the tap outside of the kernel records and refuses. */

import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Widget } from '@lumino/widgets';

const RECORDED = 'Each cell is recorded before it runs';

/** The project of a notebook: the first folder of its path, as the launcher reads it. */
export function projectOf(path) {
  const folders = path.split('/').slice(0, -1);
  return folders.length > 0 && folders[0] !== '' ? folders[0] : null;
}

/** One line above a notebook. */
function banner(path) {
  const project = projectOf(path);
  const line = new Widget();
  line.addClass('enclave-banner');
  line.node.setAttribute('role', 'note');
  line.node.textContent = project
    ? `Project ${project} · ${RECORDED}. Results leave by enclave.submit().`
    : `No project folder: the kernel uses your only project · ${RECORDED}.`;
  return line;
}

/** What the ledger did to the last cell: a cell that it could not record was refused. */
function ledgerState(status, panel) {
  panel.sessionContext.iopubMessage.connect((_, message) => {
    if (message.header.msg_type === 'error') {
      const told = `${message.content.ename} ${message.content.evalue}`;
      status.textContent = /ledger/i.test(told) ? 'Ledger: not available, cells are refused' : 'Ledger: recording';
    } else if (message.header.msg_type === 'execute_input') {
      status.textContent = 'Ledger: recording';
    }
  });
}

const plugin = {
  id: 'enclave-lab:plugin',
  description: 'Shows the project and that cells are recorded.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [IStatusBar],
  activate: (_app, notebooks, statusBar) => {
    const status = new Widget();
    status.addClass('enclave-status');
    status.node.textContent = 'Ledger: no cell yet';
    if (statusBar) {
      statusBar.registerStatusItem('enclave-lab:status', { item: status, align: 'left', rank: 100 });
    }
    notebooks.widgetAdded.connect((_, panel) => {
      panel.contentHeader.insertWidget(0, banner(panel.context.path));
      ledgerState(status.node, panel);
    });
  }
};

export default plugin;
