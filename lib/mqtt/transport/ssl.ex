defmodule MQTT.Transport.SSL do
  @moduledoc false
  # An ssl socket does its own I/O in the BEAM; its bytes are fed to the connection.

  alias MQTT.{Native, Server}

  @spec open(:ssl.sslsocket(), Server.Options.t()) :: {:ok, reference} | {:error, term}
  def open(socket, options) do
    send_timeout = [send_timeout: options.send_timeout, send_timeout_close: true, nodelay: true]

    with :ok <- :ssl.setopts(socket, [active: false, packet: :raw, mode: :binary] ++ send_timeout) do
      socket
      |> received([])
      |> IO.iodata_to_binary()
      |> Native.connection_open_fed(options.native)
    end
  end

  # What came while the socket was active.
  defp received(socket, acc) do
    receive do
      {:ssl, ^socket, data} -> received(socket, [acc | data])
      {:ssl_passive, ^socket} -> received(socket, acc)
    after
      0 -> acc
    end
  end

  @doc "Asks for the next bytes, as one message."
  @spec activate(:ssl.sslsocket()) :: :ok | {:error, term}
  def activate(socket), do: :ssl.setopts(socket, active: :once)
end
