# Handlers as they were written for mqtt 0.2.2: nothing in this file may use anything newer.

defmodule MQTT.Compat.Defaults do
  use MQTT.Server

  def init(test, _params) do
    send(test, {:connection, self()})
    {:ok, test}
  end
end

defmodule MQTT.Compat.Everything do
  @behaviour MQTT.Server

  def init({test, reply}, params) do
    send(test, {:init, self(), params})

    reply =
      case reply do
        {:wait, reply} -> receive do: (:go_on -> reply)
        reply -> reply
      end

    case reply do
      {:ok, actions} -> {:ok, test, actions}
      :ok -> {:ok, test}
      {:stop, reason} -> {:stop, reason}
    end
  end

  def handle_publish("stop", reason, _opts, _test), do: {:stop, String.to_atom(reason)}

  def handle_publish("echo/" <> _ = topic, message, _opts, test),
    do: {:ok, test, {:publish, topic, message}}

  def handle_publish(topic, message, opts, test) do
    send(test, {:publish, topic, message, opts})
    {:ok, test}
  end

  def handle_subscribe("deny", _qos, test), do: {:ok, :failed, test}
  def handle_subscribe("stop", _qos, _test), do: {:stop, :subscribed}

  def handle_subscribe("greet", qos, test),
    do: {:ok, qos, test, {:publish, "greet", "hello"}}

  def handle_subscribe(topic, qos, test) do
    send(test, {:subscribe, topic, qos})
    {:ok, qos, test}
  end

  def handle_unsubscribe("stop", _test), do: {:stop, :unsubscribed}
  def handle_unsubscribe("farewell", test), do: {:ok, test, [{:publish, "farewell", "bye"}]}

  def handle_unsubscribe(topic, test) do
    send(test, {:unsubscribe, topic})
    {:ok, test}
  end

  def handle_call(:ping, from, test), do: {:ok, test, {:reply, from, :pong}}
  def handle_call(:stop, _from, _test), do: {:stop, :called}

  def handle_call(:later, from, test) do
    send(self(), {:answer, from})
    {:ok, test}
  end

  def handle_call({:publish, topic, message}, from, test) do
    {:ok, test, [{:publish, topic, message}, {:reply, from, :published}]}
  end

  def handle_cast({:act, actions}, test), do: {:ok, test, actions}
  def handle_cast(:stop, _test), do: {:stop, :cast}

  def handle_cast(message, test) do
    send(test, {:cast, message})
    {:ok, test}
  end

  def handle_info({:answer, from}, test), do: {:ok, test, {:reply, from, :late}}
  def handle_info({:act, actions}, test), do: {:ok, test, actions}
  def handle_info(:stop, _test), do: {:stop, :told}

  def handle_info(message, test) do
    send(test, {:info, message})
    {:ok, test}
  end

  def terminate(reason, test), do: send(test, {:terminate, reason})

  def code_change(old_vsn, test, extra) do
    send(test, {:code_change, old_vsn, extra})
    if extra == :refuse, do: {:error, :refused}, else: {:ok, test}
  end
end
