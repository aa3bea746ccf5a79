// @ts-check
/** Our end of the message channel that TensorBoard offers to plugin frames. */

/**
 * Opens the channel and answers every message, as the host expects.
 * @param {() => void} onReload TensorBoard has reloaded its data (its button or its timer)
 * @param {Window} [host] the window that holds TensorBoard
 * @returns {() => void} closes the channel
 */
export function connectToTensorBoard(onReload, host = window.parent) {
  if (host === window) return () => {};
  const channel = new MessageChannel();
  const port = channel.port1;
  port.onmessage = ({ data }) => {
    const message = _parse(data);
    if (!message || message.isReply) return;
    if (message.type === 'experimental.DataReloaded') onReload();
    port.postMessage(
      JSON.stringify({ type: message.type, id: message.id, payload: null, error: null, isReply: true }),
    );
  };
  host.postMessage('experimental.bootstrap', '*', [channel.port2]);
  return () => port.close();
}

/** @param {unknown} data @returns {{type: string, id: number, isReply: boolean} | null} */
function _parse(data) {
  try {
    const message = JSON.parse(String(data));
    return message && typeof message.type === 'string' ? message : null;
  } catch {
    return null; // not of this protocol
  }
}
