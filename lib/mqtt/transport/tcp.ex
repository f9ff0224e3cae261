defmodule MQTT.Transport.TCP do
  @moduledoc false
  # Takes a gen_tcp socket over: what was received is kept, and the descriptor is duplicated.

  alias MQTT.{Native, Server}

  @spec open(:gen_tcp.socket(), Server.Options.t()) :: {:ok, reference} | {:error, term}
  def open(socket, options) do
    # From here on the driver reads nothing by itself, and leaves a socket open whose peer has closed.
    passive = [active: false, packet: :raw, mode: :binary, exit_on_close: false]

    with :ok <- :inet.setopts(socket, passive),
         mailbox = received(socket, []),
         {:ok, buffer} <- buffered(socket),
         received = IO.iodata_to_binary([mailbox, buffer]),
         {:ok, fd} <- descriptor(socket),
         {:ok, connection} <- Native.connection_open(fd, received, options.native) do
      unless options.keep_socket, do: :gen_tcp.close(socket)
      {:ok, connection}
    end
  end

  # What the driver has read is in the mailbox, or in its buffer, which one recv empties. Its statistics do not say whether there
  # is something: they count what it has given to somebody.
  defp received(socket, acc) do
    receive do
      {:tcp, ^socket, data} -> received(socket, [acc | data])
      {:tcp_passive, ^socket} -> received(socket, acc)
      {:tcp_closed, ^socket} -> received(socket, acc)
      {:tcp_error, ^socket, _reason} -> received(socket, acc)
    after
      0 -> acc
    end
  end

  defp buffered(socket) do
    case :gen_tcp.recv(socket, 0, 0) do
      {:ok, data} -> {:ok, data}
      {:error, :timeout} -> {:ok, []}
      # We come to its end as well.
      {:error, :closed} -> {:ok, []}
      {:error, reason} -> {:error, reason}
    end
  end

  # :inet.getfd/1 raises for sockets of the socket backend.
  defp descriptor({:"$inet", _module, {_pid, socket}}), do: :socket.getopt(socket, :otp, :fd)
  defp descriptor(port), do: :inet.getfd(port)
end
