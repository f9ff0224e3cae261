defmodule MQTT.Broker.Local do
  @moduledoc false
  # Stands in for a process that has subscribed: forwards what comes for it, unless too much waits in its
  # mailbox. It ends with the process, and with the one that started it.

  use GenServer

  alias MQTT.{Message, Native, Router}
  alias MQTT.Broker.Context

  # From so many messages in its mailbox on a process is busy, and is looked at again, in milliseconds: of a shared subscription others get more.
  @busy 16
  @look_again 50

  @enforce_keys [:context, :process, :local, :limit]
  defstruct @enforce_keys ++ [dropped: 0, busy: false]

  @spec start({Context.t(), pid, pos_integer, pid}) :: GenServer.on_start()
  def start(arguments), do: GenServer.start(__MODULE__, arguments)

  @impl true
  def init({context, process, limit, starter}) do
    _ = Process.monitor(process)
    _ = Process.monitor(starter)
    local = Native.local_new(context.router, limit)
    {:ok, %__MODULE__{context: context, process: process, local: local, limit: limit}}
  end

  @impl true
  def handle_call({:subscribe, filter, options}, _from, s) do
    case Native.local_subscribe(s.local, filter, options) do
      {:error, _} = error -> {:reply, error, s}
      {_, cursor} -> {:reply, :ok, s, {:continue, {:retained, filter, options, cursor}}}
    end
  rescue
    # Terms of another shape. What was subscribed to before goes on.
    ArgumentError -> {:reply, {:error, {:invalid, :badarg}}, s}
  end

  def handle_call({:unsubscribe, filter}, _from, s) do
    {:reply, Native.local_unsubscribe(s.local, filter), s}
  rescue
    ArgumentError -> {:reply, false, s}
  end

  def handle_call({:dropped}, _from, s),
    do: {:reply, s.dropped + Native.local_dropped(s.local), s}

  @impl true
  def handle_continue({:retained, "$share/" <> _, _options, _cursor}, s), do: {:noreply, s}

  def handle_continue({:retained, filter, options, cursor}, s) do
    s =
      s.context.router
      |> Router.retained(filter, cursor)
      |> Enum.reduce(s, fn message, s ->
        forward(adapted(message, options), s)
      end)

    {:noreply, s}
  end

  defp adapted(message, options) do
    message = %{message | qos: min(message.qos, Map.get(options, :qos, 0))}

    case options do
      %{subscription_identifier: identifier} ->
        %{
          message
          | properties: Map.put(message.properties, :subscription_identifier, [identifier])
        }

      _ ->
        message
    end
  end

  @impl true
  def handle_info({:"$mqtt", {topic, payload, options}}, s) do
    s = forward(struct!(%Message{topic: topic, payload: payload}, options), s)
    _ = Native.local_done(s.local)
    {:noreply, s}
  end

  def handle_info(:look, s) do
    length = waiting(s)
    _ = length < busy(s) && Native.local_backlog(s.local, 0)
    {:noreply, look(length, %{s | busy: false})}
  end

  def handle_info({:DOWN, _, _, _, _}, s), do: {:stop, :normal, s}

  defp forward(message, s) do
    length = waiting(s)

    if length < s.limit do
      send(s.process, {:mqtt, s.context.name, message})
      look(length + 1, s)
    else
      look(length, %{s | dropped: s.dropped + 1})
    end
  end

  # In its mailbox; of one that has ended as many as may.
  defp waiting(s) do
    case Process.info(s.process, :message_queue_len) do
      {:message_queue_len, length} -> length
      nil -> s.limit
    end
  end

  defp look(length, s) do
    if length < busy(s) do
      s
    else
      _ = Native.local_backlog(s.local, length)
      _ = s.busy || Process.send_after(self(), :look, @look_again)
      %{s | busy: true}
    end
  end

  # One whose mailbox is full is.
  defp busy(s), do: min(@busy, s.limit)
end
